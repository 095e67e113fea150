"""`dask-em transform` and `dask-em fill`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

import dask_em
from tests.cli.conftest import finish, run, spawn


def values(path: str, name: str) -> np.ndarray:
    return np.asarray(zarr.open_array(path, path=name, mode="r")[:])


def test_scores_and_densities_in_the_same_pass(gaps: str, latent: str) -> None:
    words = ["transform", latent, gaps, "--out", "s.zarr", "--log-density", "d.zarr", "--json"]
    found = json.loads(run(*words).stdout)
    assert (found["scores"], found["log_density"]) == ("s.zarr", "d.zarr")
    assert (found["rows"], found["bytes_read"]) == (4000, 4000 * 6 * 8)
    model = dask_em.load(latent)
    np.testing.assert_array_equal(values("s.zarr", "score"), model.transform(gaps))
    np.testing.assert_array_equal(values("d.zarr", "log_likelihood"), model.score_samples(gaps))
    assert xarray.open_zarr("s.zarr").score.dims[-1] == "component"


def test_rows_filled_and_their_deviations(gaps: str, latent: str) -> None:
    text = run("fill", latent, gaps, "--out", "f.zarr", "--std", "sd.zarr").stdout
    assert "filled in f.zarr" in text
    assert "deviation in sd.zarr" in text
    filled, spread = dask_em.load(latent).fill(gaps, return_std=True)
    np.testing.assert_array_equal(values("f.zarr", "filled"), filled)
    np.testing.assert_array_equal(values("sd.zarr", "deviation"), spread)
    rows = zarr.open_array(gaps)[:]
    observed = ~np.isnan(rows)
    np.testing.assert_array_equal(values("f.zarr", "filled")[observed], rows[observed])
    assert np.isfinite(values("f.zarr", "filled")).all()


def test_workers_give_the_same_bits(gaps: str, latent: str) -> None:
    run("transform", latent, gaps, "--out", "here.zarr")
    finish(spawn("transform", latent, gaps, "--out", "there.zarr", "--workers", 2))
    np.testing.assert_array_equal(values("there.zarr", "score"), values("here.zarr", "score"))


def test_policies_on_gaps(gaps: str, latent: str) -> None:
    words = ["transform", latent, gaps, "--out", "s.zarr"]
    assert "contains NaN" in run(*words, "--missing", "error", code=1).stderr
    assert not Path("s.zarr").exists()
    run(*words, "--missing", "drop")
    incomplete = np.isnan(zarr.open_array(gaps)[:]).any(axis=-1)
    np.testing.assert_array_equal(np.isnan(values("s.zarr", "score")).all(axis=-1), incomplete)
    run(*words, "--missing", "model", "--overwrite")
    assert np.isfinite(values("s.zarr", "score")).all()


@pytest.mark.parametrize("command", ["transform", "fill"])
def test_unreadable_chunks(command: str, gaps: str, latent: str) -> None:
    Path(gaps, "c", "3", "0", "0").write_bytes(b"not zstd")
    words = [command, latent, gaps, "--out", "o.zarr"]
    assert "pass --on-bad-chunk skip" in run(*words, code=1).stderr
    result = run(*words, "--on-bad-chunk", "skip")
    assert "; 1 unreadable chunk skipped" in result.stdout
    found = values("o.zarr", "score" if command == "transform" else "filled")
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


@pytest.mark.parametrize("command", ["transform", "fill"])
def test_outputs(command: str, gaps: str, latent: str) -> None:
    words = [command, latent, gaps, "--out"]
    run(*words, "o.zarr")
    assert "pass --overwrite" in run(*words, "o.zarr", code=1).stderr
    run(*words, "o.zarr", "--overwrite")
    assert "not written by dask_em" in run(*words, gaps, "--overwrite", code=1).stderr
    assert "choose a path apart from it" in run(*words, f"{gaps}/o.zarr", code=1).stderr


def test_other_features(store: str, latent: str) -> None:
    stderr = run("fill", latent, store, "--out", "f.zarr", code=1).stderr
    assert "3 features, but PPCA is expecting 6 features" in stderr


def test_the_right_command_is_named(gaps: str, latent: str, store: str, model: str) -> None:
    stderr = run("predict", latent, gaps, "--out", "o.zarr", code=1).stderr
    assert "latent.zarr holds a PPCA" in stderr
    assert "dask-em transform writes its scores" in stderr
    for command in ("transform", "fill"):
        stderr = run(command, model, store, "--out", "o.zarr", code=1).stderr
        assert "model.zarr holds a GaussianMixture" in stderr
        assert "dask-em predict writes its labels" in stderr
    assert not Path("o.zarr").exists()


@pytest.mark.parametrize("command", ["transform", "fill"])
def test_with_a_checkpoint_the_same_is_written(gaps: str, latent: str, command: str) -> None:
    run(command, latent, gaps, "--out", "plain.zarr")
    run(command, latent, gaps, "--out", "kept.zarr", "--checkpoint", "ck")
    name = "score" if command == "transform" else "filled"
    np.testing.assert_array_equal(values("kept.zarr", name), values("plain.zarr", name))
    assert [path.name for path in Path("ck").iterdir()] == ["checkpoint.json"]
