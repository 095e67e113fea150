"""`dask-em show`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import dask_em
from dask_em import PPCA, GaussianMixture, Log, Select, Standardize
from tests.cli.conftest import CENTRES, run
from tests.sources.named import NamedSource


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


def test_names_units_and_mapping(folder: Path) -> None:
    rows = np.exp(np.random.default_rng(0).normal(size=(300, 3)) + CENTRES[0] / 6)
    source = NamedSource(rows, ["n"], ["heat", "salt", "chl"], units=["degC", None, "mg m-3"])
    GaussianMixture(2, random_state=0).fit(source).save("plain")
    text = run("show", "plain").stdout
    assert "features  3: heat (degC), salt, chl (mg m-3)\n" in text
    assert "mapped" not in text
    mapping = [Log(["chl"]), Standardize(["heat"]), Select(["chl", "heat"])]
    for model in (GaussianMixture(2, random_state=0), PPCA(1)):
        model.fit(source, mapping=mapping).save("mapped", overwrite=True)
        text = run("show", "mapped").stdout
        assert "features  3: heat (degC), salt, chl (mg m-3)\n" in text
        assert "mapped    Log of chl, then Standardize of heat, then Select of chl, heat\n" in text
        found = json.loads(run("show", "mapped", "--json").stdout)
        assert found["features"] == ["heat", "salt", "chl"]
        assert found["units"] == ["degC", None, "mg m-3"]
        assert found["mapped_features"] == ["chl", "heat"]
        assert found["mapped_units"] == ["log(mg m-3)", "1"]
        assert found["mapping"][1] == "Standardize of heat"
    assert "1 axis" in text
    assert "2 features" in text
