"""Parquet, NetCDF and standardized rows on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray

from dask_em import GaussianMixture, Standardize, load
from tests.cli.conftest import run

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

RNG = np.random.default_rng(5)
TABLE = pd.DataFrame(
    {
        "station": [f"s{i % 7}" for i in range(900)],
        "depth": np.arange(900),
        "temp_air": np.r_[RNG.normal(size=450), RNG.normal(9, 2, size=450)],
        "temp_sea": 100 * RNG.normal(size=900),
    }
)


@pytest.fixture
def table(folder: Path) -> str:
    (folder / "table").mkdir()
    for i in range(3):
        part = TABLE.iloc[300 * i : 300 * (i + 1)]
        part.to_parquet(folder / "table" / f"part-{i}.parquet", row_group_size=100)
    return "table"


def test_fit_and_predict_a_table(table: str, folder: Path) -> None:
    chosen = ["--features", "temp*", "--where", "depth < 600", "--standardize"]
    done = run("fit", table, "-k", 2, "--seed", 0, "--out", "m.zarr", *chosen)
    assert "log-likelihood" in done.stdout
    model = load("m.zarr")
    rows = TABLE[TABLE.depth < 600][["temp_air", "temp_sea"]]
    expected = GaussianMixture(2, random_state=0).fit(rows, mapping=[Standardize()])
    assert list(model.feature_names_in_) == ["temp_air", "temp_sea"]
    np.testing.assert_allclose(model.mapping_.steps[0].means, rows.mean(), rtol=1e-12)
    assert model.score(rows) == pytest.approx(expected.score(rows), abs=1e-3)
    shown = run("show", "m.zarr").stdout
    assert "2: temp_air, temp_sea" in shown
    done = run(
        "predict",
        "m.zarr",
        table,
        "--out",
        "out",
        "--keys",
        "station,depth",
        "--log-density",
        "out",
    )
    assert 'next: pandas.read_parquet("out")' in done.stdout
    found = pd.read_parquet(folder / "out")
    assert list(found) == ["station", "depth", "class", "log_likelihood"]
    assert (found.depth == TABLE.depth).all()  # rows that the fit did not read as well
    every = TABLE[["temp_air", "temp_sea"]]
    np.testing.assert_array_equal(found["class"], model.predict(every))


def test_inspect_and_plan_a_table(table: str) -> None:
    told = run("inspect", table, "--features", "temp_sea,depth").stdout
    assert "2: temp_sea, depth" in told
    told = run("plan", table, "-k", 2, "--features", "temp_sea", "--standardize").stdout
    assert "--standardize" in told


def test_patterns_reach_the_next_command(table: str) -> None:
    """Quoted, as a shell would take them for paths."""
    del table
    chosen, glob = ["--features", "temp*"], "table/*.parquet"
    for command in ("inspect", "plan"):
        told = run(command, glob, *chosen, *["-k", 2] * (command == "plan")).stdout
        assert "dask-em fit 'table/*.parquet'" in told
        assert "--features 'temp*'" in told
    done = run("fit", glob, "-k", 2, "--out", "m.zarr", *chosen)
    assert "next: dask-em predict m.zarr 'table/*.parquet' --out" in done.stdout
    done = run("sweep", glob, "-k", "1:2", "--out", "best.zarr", *chosen)
    assert "next: dask-em predict best.zarr 'table/*.parquet' --out" in done.stdout
    done = run("fit", glob, "--model", "ppca", "-q", 1, "--out", "p.zarr", *chosen)
    assert "next: dask-em transform p.zarr 'table/*.parquet' --out" in done.stdout


def test_columns_that_do_not_exist(table: str) -> None:
    error = run("inspect", table, "--features", "temp_see", code=1).stderr
    assert "'temp_see'" in error
    assert "did you mean 'temp_sea'" in error
    error = run("inspect", table, "--where", "deepness < 3", code=1).stderr
    assert "deepness" in error


def test_netcdf(folder: Path) -> None:
    pytest.importorskip("netCDF4", reason="netCDF4 is not installed")
    fields = {name: (("time", "lat"), RNG.normal(size=(40, 5))) for name in ("u", "v")}
    made = xarray.Dataset(fields, {"lat": np.linspace(-60, 60, 5)})
    made.to_netcdf(folder / "fields.nc")
    run("fit", "fields.nc", "-k", 2, "--features", "u,v", "--seed", 0, "--out", "m.zarr")
    run("predict", "m.zarr", "fields.nc", "--out", "labels.zarr")
    with xarray.open_zarr("labels.zarr") as labels:
        assert labels["class"].dims == ("time", "lat")
        np.testing.assert_array_equal(labels.lat, made.lat)
