"""`dask-em fit`, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

import dask_em
from tests.cli.conftest import CENTRES, run


def test_fits_and_saves(store: str) -> None:
    result = run("fit", store, "-k", 3, "--out", "model.zarr", "--seed", 0)
    assert "converged after" in result.stdout
    assert f"next: dask-em predict model.zarr {store}" in result.stdout
    assert "log-likelihood/row" in result.stderr
    means = dask_em.load("model.zarr").means_
    np.testing.assert_allclose(sorted(means[:, 0]), sorted(CENTRES[:, 0]), atol=0.1)


def test_json_is_one_document(store: str) -> None:
    result = run("fit", store, "-k", 3, "--out", "model.zarr", "--seed", 0, "--json")
    found = json.loads(result.stdout)
    assert found["converged"]
    assert found["iterations"] == sum(one["kind"] == "em" for one in found["passes"])
    assert found["passes"][-1]["objective"] == found["log_likelihood_per_row"]
    assert found["passes"][0]["rows"] == 12_000
    assert len(found["means"]) == 3


def test_unfinished_fit_gives_advice(store: str) -> None:
    words = ["fit", store, "-k", 3, "--out", "m.zarr", "--max-iter", 2, "--tol", 0, "--overwrite"]
    text = run(*words, "--algorithm", "em").stdout
    assert "not converged after 2 passes: the last one gained" in text
    assert "raise --max-iter, or --tol" in text
    text = run(*words).stdout
    assert "not converged after 2 passes: the optimum is estimated to be" in text
    assert "raise --max-iter, or --tol-gap" in text


def test_a_cache_changes_no_bit(store: str) -> None:
    words = ["fit", store, "-k", 2, "--seed", 0, "--algorithm", "em", "--json"]
    plain = json.loads(run(*words, "--out", "a.zarr").stdout)
    kept = json.loads(run(*words, "--out", "b.zarr", "--cache", "50MB").stdout)
    assert kept["means"] == plain["means"]
    assert plain["passes"][-1]["cached_bytes"] == 0
    assert kept["passes"][-1]["cached_bytes"] == plain["passes"][-1]["nbytes"]
    assert "no size" in run(*words, "--out", "c.zarr", "--cache", "much", code=2).stderr


def test_missing_values(fields: str) -> None:
    words = ["fit", fields, "-k", 2, "--out", "m.zarr", "--features", "u,v"]
    assert "pass --missing drop" in run(*words, code=1).stderr
    assert not Path("m.zarr").exists()
    result = run(*words, "--missing", "drop")
    assert "200 rows with NaN left out" in result.stderr
    assert list(dask_em.load("m.zarr").feature_names_in_) == ["u", "v"]


def test_weights(store: str) -> None:
    weights = np.ones((40, 300))
    weights[:20] = 0
    zarr.create_array("weights.zarr", data=weights, chunks=(10, 300))
    run("fit", store, "-k", 1, "--out", "m.zarr", "--weights", "weights.zarr")
    expected = zarr.open_array(store)[20:].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(dask_em.load("m.zarr").means_[0], expected)


def test_unreadable_chunk(large: str) -> None:
    Path(large, "c", "2", "0").write_bytes(b"nonsense")
    words = ["fit", large, "-k", 1, "--out", "m.zarr"]
    stderr = run(*words, code=1).stderr
    assert "c/2/0" in stderr
    assert "--on-bad-chunk skip" in stderr
    result = run(*words, "--on-bad-chunk", "skip", "--json")
    assert json.loads(result.stdout)["passes"][-1]["rows"] == 1_200_000
    assert "1 unreadable chunk skipped" in result.stderr
    assert "warning: 1 chunk could not be read" in result.stderr


def test_more_components_than_rows(store: str) -> None:
    assert (
        "n_components = 12001" in run("fit", store, "-k", 12_001, "--out", "m.zarr", code=1).stderr
    )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "127.0.0.1:1"])
def test_nobody_listens(store: str, address: str) -> None:
    stderr = run("fit", store, "-k", 2, "--out", "m", "--scheduler", address, code=1).stderr
    assert f"no Dask scheduler answers at {address}" in stderr


def test_checkpoint_goes_on(store: str) -> None:
    words = ["fit", store, "-k", 3, "--seed", 0, "--tol", 0, "--algorithm", "em"]
    run(*words, "--max-iter", 5, "--out", "whole.zarr")
    kept = ["--checkpoint", "run.ckpt"]
    run(*words, *kept, "--max-iter", 2, "--out", "begun.zarr")
    result = run(*words, *kept, "--max-iter", 5, "--out", "model.zarr")
    assert "each pass is kept in run.ckpt; the same command goes on from it" in result.stderr
    lines = [line.split()[0] for line in result.stderr.splitlines() if line.strip()]
    assert lines[-6:] == ["sample", "1", "2", "3", "4", "5"]
    whole, found = dask_em.load("whole.zarr"), dask_em.load("model.zarr")
    assert found.lower_bounds_ == whole.lower_bounds_
    np.testing.assert_array_equal(found.means_, whole.means_)


def test_checkpoint_of_another_fit(store: str) -> None:
    words = ["fit", store, "--seed", 0, "--max-iter", 2, "--checkpoint", "run.ckpt"]
    run(*words, "-k", 3, "--out", "one.zarr")
    stderr = run(*words, "-k", 4, "--out", "other.zarr", code=1).stderr
    assert "model.n_components is 3 there and 4 here" in stderr
    assert not Path("other.zarr").exists()
    stderr = run(
        "fit", store, "-k", 3, "--out", "m.zarr", "--checkpoint", "one.zarr", code=1
    ).stderr
    assert "is not a checkpoint" in stderr
