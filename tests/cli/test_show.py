"""`dask-em show`."""

from __future__ import annotations

import json

import numpy as np

import dask_em
from tests.cli.conftest import run


def test_words(model: str) -> None:
    text = run("show", model).stdout
    assert "GaussianMixture, 3 components, full covariance" in text
    assert "converged after" in text
    assert f"by dask_em {dask_em.__version__}" in text
    assert "12 k rows" in text


def test_json(model: str) -> None:
    found = json.loads(run("show", model, "--json").stdout)
    fitted = dask_em.load(model)
    np.testing.assert_array_equal(found["means"], fitted.means_)
    np.testing.assert_array_equal(found["covariances"], fitted.covariances_)
    assert found["parameters"]["n_components"] == 3
    assert found["log_likelihood_per_row"] == fitted.lower_bound_
    assert found["version"] == dask_em.__version__


def test_long_tables_are_abridged(store: str) -> None:
    run("fit", store, "-k", 25, "--out", "m.zarr", "--max-iter", 1)
    lines = run("show", "m.zarr").stdout.splitlines()
    assert sum(line.strip()[:1].isdigit() for line in lines) == 20


def test_not_a_model(store: str) -> None:
    assert "error: " in run("show", store, code=1).stderr
    assert "there is no model at" in run("show", "nowhere.zarr", code=1).stderr
