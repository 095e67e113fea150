"""The options that fit and sweep share say what the model is."""

from __future__ import annotations

import json

import pytest

import dask_em
from tests.cli.conftest import run


@pytest.mark.parametrize("command", ["fit", "sweep"])
def test_options_reach_the_model(command: str, store: str) -> None:
    options = {
        "--covariance": "diag",
        "--tol": 0.5,
        "--max-iter": 7,
        "--n-init": 2,
        "--init": "k-means++",
        "--seed": 3,
        "--reg-covar": 1e-4,
        "--missing": "drop",
        "--on-bad-chunk": "skip",
        "--degenerate": "drop",
    }
    flags = [word for pair in options.items() for word in pair]
    result = run(command, store, "-k", 2, "--out", "model.zarr", "--json", *flags)
    assert json.loads(result.stdout)["model"] == "model.zarr"
    params = dask_em.load("model.zarr").get_params()
    assert params["covariance_type"] == "diag"
    assert (params["tol"], params["max_iter"], params["n_init"]) == (0.5, 7, 2)
    assert (params["init_params"], params["random_state"]) == ("k-means++", 3)
    assert (params["reg_covar"], params["missing"]) == (1e-4, "drop")
    assert (params["on_bad_chunk"], params["degenerate"]) == ("skip", "drop")
