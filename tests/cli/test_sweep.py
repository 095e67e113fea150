"""`dask-em sweep`, in this process."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
import zarr

import dask_em
from dask_em.cli.sweep import sizes, structures
from tests.cli.conftest import CENTRES, run


def test_compares_and_saves_the_best(store: str) -> None:
    words = ["sweep", store, "-k", "1:4", "--covariance", "full,spherical", "--seed", 0]
    result = run(*words, "--out", "best.zarr")
    assert "best by BIC: 3 components, spherical covariance" in result.stdout
    assert "saved best.zarr; 8 mixtures in" in result.stdout
    assert f"next: dask-em predict best.zarr {store}" in result.stdout
    assert "log-likelihood/row" in result.stderr
    best = dask_em.load("best.zarr")
    np.testing.assert_allclose(sorted(best.means_[:, 0]), sorted(CENTRES[:, 0]), atol=0.1)
    run("predict", "best.zarr", store, "--out", "labels.zarr")
    assert zarr.open_array("labels.zarr/class").shape == (40, 300)


@pytest.mark.parametrize(
    ("flags", "criterion"), [([], "bic"), (["--criterion", "icl"], "icl")], ids=["bic", "icl"]
)
def test_json_is_one_document(store: str, flags: list[str], criterion: str) -> None:
    result = run("sweep", store, "-k", "2,3", "--n-init", 2, "--seed", 0, "--json", *flags)
    found = json.loads(result.stdout)
    assert (found["model"], found["criterion"]) == (None, criterion)
    assert len(found["candidates"]) == 8
    assert found["best"] in found["candidates"]
    assert found["best"][criterion] == min(one[criterion] for one in found["candidates"])
    assert found["nbytes"] == sum(one["nbytes"] for one in found["passes"])
    assert found["passes"][0]["kind"] == "first"


def test_checkpoint_goes_on(store: str) -> None:
    words = ["sweep", store, "-k", "2,3", "--covariance", "full", "--seed", 0, "--standardize"]
    words += ["--tol", "1e-9", "--init", "random", "--json"]
    whole = json.loads(run(*words, "--max-iter", 4).stdout)
    kept = ["--checkpoint", "run.ckpt"]
    run(*words, *kept, "--max-iter", 1)
    result = run(*words, *kept, "--max-iter", 4)
    assert "each pass is kept in run.ckpt; the same command goes on from it" in result.stderr
    found = json.loads(result.stdout)
    assert found["candidates"] == whole["candidates"]
    assert found["best"] == whole["best"]
    assert [one["kind"] for one in found["passes"]] == [one["kind"] for one in whole["passes"]]
    other = run(*words, *kept, "-k", "2,4", code=1).stderr
    assert "n_components is 3 there and 4 here" in other


def test_a_mixture_that_fails_is_listed(store: str) -> None:
    words = ["sweep", store, "-k", "1,12001", "--covariance", "diag"]
    assert "failed: Expected n_samples >= n_components" in run(*words).stdout
    found = json.loads(run(*words, "--json").stdout)
    assert found["candidates"][1]["bic"] is None
    assert found["best"]["n_components"] == 1


def test_the_best_remembers_what_was_selected(fields: str) -> None:
    words = ["--features", "u,v", "--missing", "drop", "--covariance", "diag", "--seed", 0]
    run("sweep", fields, "-k", 2, "--out", "m.zarr", *words)
    assert list(dask_em.load("m.zarr").feature_names_in_) == ["u", "v"]
    assert "--features u,v" in run("show", "m.zarr").stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1:3", [1, 2, 3]), ("5", [5]), ("8,2,4", [2, 4, 8]), ("1:3,2:4,9", [1, 2, 3, 4, 9])],
)
def test_numbers_of_components(text: str, expected: list[int]) -> None:
    assert sizes(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3:1", "0:2", "1:", ":3", "1:2:3", "2,,3", "-1"])
def test_what_is_no_number_of_components(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="write"):
        sizes(text)


def test_structures() -> None:
    assert structures("full, diag") == ["full", "diag"]
    with pytest.raises(typer.BadParameter, match="'round' is none of full, tied"):
        structures("full,round")


def test_wrong_usage(store: str) -> None:
    for words in (["-k", "3:1"], ["--covariance", "round"], ["--criterion", "aicc"]):
        result = run("sweep", store, *words, code=2)
        assert not result.stdout
        assert result.stderr
