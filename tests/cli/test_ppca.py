"""Probabilistic PCA on the command line: fit, show, plan, and options of the other model."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import dask_em
from dask_em import PPCA
from tests.cli.conftest import finish, run, spawn

FIT = ["fit", "--model", "ppca", "--out", "m.zarr", "--seed", 0]


@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        (["-q", 2, "--missing", "model"], {"n_components": 2, "missing": "model"}),
        (["-q", 2, "--missing", "drop"], {"n_components": 2, "missing": "drop"}),
        (["-q", 0.95, "--missing", "drop"], {"n_components": 0.95, "missing": "drop"}),
        (["-q", "bic", "--missing", "drop"], {"n_components": "bic", "missing": "drop"}),
        (
            ["-q", 1, "--missing", "drop", "--solver", "em", "--tol", 1e-3, "--max-iter", 50],
            {"n_components": 1, "missing": "drop", "solver": "em", "tol": 1e-3, "max_iter": 50},
        ),
    ],
    ids=lambda one: " ".join(map(str, one)) if isinstance(one, list) else "",
)
def test_the_model_is_that_of_the_library(
    gaps: str, words: list[Any], parameters: dict[str, Any]
) -> None:
    run(*FIT, gaps, *words)
    found, expected = dask_em.load("m.zarr"), PPCA(**parameters, random_state=0).fit(gaps)
    assert found.get_params() == expected.get_params()
    assert found._parameters.equals(expected._parameters)


def test_tells_what_was_found(gaps: str) -> None:
    result = run(*FIT, gaps, "-q", 2, "--missing", "model")
    incomplete = int(np.isnan(zarr.open_array(gaps)[:]).any(axis=-1).sum())
    assert f"{incomplete:,} rows with gaps; 40 all NaN" in result.stderr
    assert "log-likelihood/row" in result.stderr
    found, text = dask_em.load("m.zarr"), result.stdout
    assert f"converged after {found.n_iter_} passes; log-likelihood" in text
    shares = found.explained_variance_ratio_
    assert f"{shares.sum():.2%} of the variance of 6 features by 2 axes: {shares[0]:.1%} +" in text
    assert f"variance {found.noise_variance_:.6g} in each of the other 4 directions" in text
    assert f"{incomplete:,} of 4,000 rows have gaps, 40 are all NaN" in text
    assert f"next: dask-em transform m.zarr {gaps} --out" in text
    assert f"dask-em fill m.zarr {gaps} --out" in text


def test_rows_that_were_left_out(gaps: str) -> None:
    result = run(*FIT, gaps, "-q", "bic", "--missing", "drop")
    incomplete = int(np.isnan(zarr.open_array(gaps)[:]).any(axis=-1).sum())
    assert f"closed; {incomplete:,} rows with NaN left out" in result.stderr
    assert f"{incomplete:,} of 4,000 rows hold NaN and were left out" in result.stdout
    assert "converged after 1 pass;" in result.stdout


def test_json(gaps: str) -> None:
    found = json.loads(run(*FIT, gaps, "-q", 2, "--missing", "model", "--json").stdout)
    model = dask_em.load("m.zarr")
    assert (found["converged"], found["latent_dims"], found["empty_rows"]) == (True, 2, 40)
    assert found["incomplete_rows"] > 40
    assert found["noise_variance"] == model.noise_variance_
    assert found["passes"][-1]["objective"] == found["log_likelihood_per_row"]
    shown = json.loads(run("show", "m.zarr", "--json").stdout)
    assert shown["kind"] == "PPCA"
    for name in ("mean", "components", "loadings", "explained_variance"):
        np.testing.assert_array_equal(shown[name], getattr(model, f"{name}_"))


def test_unfinished_fit_gives_advice(gaps: str) -> None:
    words = ["-q", 2, "--missing", "model", "--max-iter", 2]
    assert "not converged after 2 passes" in run(*FIT, gaps, *words).stdout
    words = ["-q", 2, "--missing", "drop", "--max-iter", 3, "--algorithm", "em", "--overwrite"]
    assert "raise --max-iter, or --tol;" in run(*FIT, gaps, *words).stdout


def test_cache_and_checkpoint_change_no_bit(gaps: str) -> None:
    words = ["-q", 2, "--missing", "model", "--overwrite"]
    run(*FIT, gaps, *words)
    expected = dask_em.load("m.zarr")
    kept = ["--checkpoint", "run.ckpt", "--cache", "50MB"]
    run(*FIT, gaps, *words, *kept, "--max-iter", 2)
    assert Path("run.ckpt").is_dir()
    assert "each pass is kept in run.ckpt" in run(*FIT, gaps, *words, *kept).stderr
    found = dask_em.load("m.zarr")
    assert found._parameters.equals(expected._parameters)
    assert found.n_iter_ == expected.n_iter_ > 2


@pytest.mark.parametrize("missing", ["model", "drop"])
def test_ctrl_c(gaps: str, missing: str, folder: Path) -> None:
    endless = ["--tol", 0, "--max-iter", 10**6, "--algorithm", "em"]
    process = spawn(*FIT, gaps, "-q", 2, "--missing", missing, *endless)
    assert process.stderr is not None
    while not process.stderr.readline().strip().startswith("3 "):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert "nothing was left half-written" in finish(process, code=130)[1]
    assert [path.name for path in folder.iterdir()] == [gaps]


def test_show(latent: str) -> None:
    text = run("show", latent).stdout
    found = dask_em.load(latent)
    assert "PPCA, 2 latent dimensions" in text
    first = next(line for line in text.splitlines() if line.split()[:1] == ["0"])
    axis = found.components_[0]
    largest = sorted(range(6), key=lambda feature: -abs(axis[feature]))[:3]
    assert f"{found.explained_variance_ratio_[0]:.2%}" in first
    assert ", ".join(f"{feature}:{axis[feature]:+.2f}" for feature in largest) in first
    assert f"{found.explained_variance_ratio_.sum():.2%}" in text.splitlines()[-2]


def test_show_names_features(folder: Path) -> None:
    group = zarr.create_group(folder / "fields.zarr")
    rng = np.random.default_rng(0)
    for name, scale in (("salinity", 1.0), ("temperature", 9.0), ("oxygen", 2.0)):
        values = scale * rng.normal(size=(6, 200))
        group.create_array(name, data=values, chunks=(1, 200), dimension_names=("time", "x"))
    run(*FIT, "fields.zarr", "-q", 1, "--features", "salinity,temperature,oxygen")
    text = run("show", "m.zarr").stdout
    assert "temperature:+1.00" in text
    assert "selected  --features salinity,temperature,oxygen" in text
    assert "in each of the other 2 directions" in text


@pytest.mark.parametrize("model", [["--model", "ppca", "-q", 1], ["-k", 1]])
def test_show_names_levels(folder: Path, model: list[Any]) -> None:
    group = zarr.create_group(folder / "levels.zarr")
    group.create_array("pressure", data=np.array([10.0, 20.0, 30.0]), dimension_names=("pressure",))
    values = np.random.default_rng(0).normal(size=(200, 3)) * [1, 9, 2]
    group.create_array("salt", data=values, dimension_names=("profile", "pressure"))
    selected = ["--features", "salt", "--sample-dims", "profile"]
    run("fit", "levels.zarr", "--out", "m.zarr", *model, *selected)
    table = run("show", "m.zarr").stdout.split("salt[pressure=30]", 1)[1]
    assert "salt[pressure=20]" in table


def test_long_tables_are_abridged(folder: Path) -> None:
    rng = np.random.default_rng(0)
    zarr.create_array(folder / "wide.zarr", data=rng.normal(size=(500, 30)), chunks=(100, 30))
    text = run(*FIT, "wide.zarr", "-q", 25).stdout
    assert text.splitlines()[1].endswith(" + ...")
    lines = run("show", "m.zarr").stdout.splitlines()
    assert sum(line.strip()[:1].isdigit() for line in lines) == 20


def test_a_terminal_without_unicode(latent: str) -> None:
    process = spawn("show", latent, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    stdout, _ = finish(process)
    assert "#" in stdout
    assert stdout.isascii()


def test_plan(gaps: str) -> None:
    words = ["plan", gaps, "--model", "ppca", "-q", 2, "--missing"]
    text = run(*words, "drop").stdout
    assert "1 to 2 expected (closed)" in text
    line = f"next: dask-em fit {gaps} --model ppca -q 2 --missing drop --out model.zarr"
    assert text.splitlines()[-1] == line
    assert json.loads(run(*words, "model", "--json").stdout)["algorithm"] == "extrapolated"
    assert "pass --missing drop" in run(*words, "error", code=1).stderr


@pytest.mark.parametrize("command", ["fit", "plan"])
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["-q", 2], "-q is an option of --model ppca, but the model is gmm"),
        (["-k", 2, "--solver", "em"], "--solver is an option of --model ppca"),
        (["-k", 2, "--missing", "model"], "a mixture needs whole rows; pass --missing drop"),
        ([], "pass -k, e.g. -k 8"),
        (["--model", "ppca"], "pass -q, e.g. -q 10, -q 0.95 or -q bic"),
        (
            ["--model", "ppca", "-q", 2, "-k", 2, "--covariance", "full"],
            "-k, --covariance are options of --model gmm, but the model is ppca",
        ),
        *((["--model", "ppca", "-q", q], "write a number of 1 or more, a fraction")
          for q in ("0", "-1", "1.0", "1.5", "nan", "many", "²")),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_usage(command: str, words: list[Any], error: str, gaps: str) -> None:
    out = ["--out", "m.zarr"] if command == "fit" else []
    result = run(command, gaps, *words, *out, code=2)
    assert error in " ".join(result.stderr.replace("│", " ").split())
    assert not Path("m.zarr").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["-q", 6, "--missing", "drop"], "-q 6 latent dimensions for 6 features; give 1 to 5"),
        (["-q", 2], "or --missing model to use what is observed"),
        (["-q", "bic", "--missing", "model"], "-q bic is decided by the covariance of whole rows"),
        (["-q", 2, "--missing", "model", "--solver", "gram"], "set --solver auto, or --missing"),
    ],
    ids=str,
)
def test_what_cannot_be_fitted(words: list[Any], error: str, gaps: str) -> None:
    assert error in run(*FIT, gaps, *words, code=1).stderr
    assert not Path("m.zarr").exists()


def test_help_tells_the_models_apart() -> None:
    text = run("fit", "--help").stdout
    for word in ("--latent-dims", "gmm|ppca", "Gaussian mixtures", "Probabilistic PCA", "1e-06)"):
        assert word in text
