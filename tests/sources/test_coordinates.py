"""Coordinates of Zarr stores, which lie beside the answers that are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray

from dask_em import PPCA, GaussianMixture
from dask_em.sources.zarr import ZarrSource

RNG = np.random.default_rng(3)
GRID = ("time", "lat", "lon")


def dataset() -> xarray.Dataset:
    t, s = RNG.normal(size=(2, 6, 8, 10))
    return xarray.Dataset(
        {"t": (GRID, t, {"units": "K"}), "s": (GRID[::-1], s.T), "depth": (GRID[1:], t[0])},
        {
            "time": pd.date_range("2020-01-31", periods=6, freq="D"),
            "lat": ("lat", np.arange(8.0), {"units": "degrees_north"}),
            "lon": np.arange(10),
            "area": (("lat", "lon"), np.ones((8, 10), "f4")),
            "day": ("time", np.arange(6) % 3),
            "run": 3,
        },
    )


def stored(path: Path, zarr_format: Any = 3) -> xarray.Dataset:
    made = dataset()
    made.to_zarr(path, zarr_format=zarr_format, consolidated=False)
    return made


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_answers_have_the_coordinates_of_the_rows(tmp_path: Path, zarr_format: int) -> None:
    given = stored(tmp_path / "rows.zarr", zarr_format)
    mixture = GaussianMixture(2, random_state=0, max_iter=3, tol=0.1)
    mixture.fit(tmp_path / "rows.zarr", features=["t", "s"])
    mixture.write_predictions(
        tmp_path / "rows.zarr", tmp_path / "l.zarr", probabilities=tmp_path / "p.zarr"
    )
    with xarray.open_zarr(tmp_path / "l.zarr") as labels:
        assert list(labels.data_vars) == ["class"]
        assert labels["class"].dims == GRID
        assert labels["class"].long_name == "most probable component, -1 for none"
        labels.attrs.clear()
        xarray.testing.assert_identical(labels.coords.to_dataset(), given.coords.to_dataset())
    with xarray.open_zarr(tmp_path / "p.zarr") as probabilities:
        assert probabilities.probability.dims == (*GRID, "component")
        xarray.testing.assert_equal(probabilities.time, given.time)
        assert list(probabilities.component) == [0, 1]


def curved() -> xarray.Dataset:
    """Coordinates of many kinds, of which some have gaps, as a store holds them."""
    made = dataset()
    place, gaps = RNG.normal(size=(8, 10)), np.arange(80).reshape(8, 10) % 7 == 3
    days = made.time.values.copy()
    days[2] = np.datetime64("NaT")
    made = made.assign_coords(
        latitude=(("lat", "lon"), np.where(gaps, np.nan, place), {"units": "degrees_north"}),
        longitude=(("lat", "lon"), np.where(gaps, np.nan, np.round(place * 2))),
        region=("lat", np.array(["süd", "süd", "", "n", "n", "n", "n", "north"])),
        lead=("time", np.arange(6) * np.timedelta64(6, "h").astype("m8[ns]")),
        seen=("time", days),
        begin=np.datetime64("2019-12-01T06:00", "ns"),
        night=("time", np.arange(6) % 2 == 0),
    )
    made.time.encoding = {"units": "minutes since 1900-01-01", "dtype": "i8"}
    made.latitude.encoding = {"_FillValue": -999.0, "chunks": (4, 10)}
    made.longitude.encoding = {"_FillValue": -99, "dtype": "i2", "scale_factor": 0.5}
    return made


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("way", ["path", "dataset", "lazily", "cut"])
def test_coordinates_of_all_kinds_go_round(tmp_path: Path, zarr_format: Any, way: str) -> None:
    curved().to_zarr(tmp_path / "rows.zarr", zarr_format=zarr_format, consolidated=False)
    given = xarray.open_zarr(tmp_path / "rows.zarr", consolidated=False)
    mixture = GaussianMixture(2, random_state=0, max_iter=3, tol=0.1)
    mixture.fit(given, features=["t", "s"], sample_dims=GRID)
    if way == "path":
        mixture.write_predictions(tmp_path / "rows.zarr", tmp_path / "l.zarr")
    elif way == "dataset":
        mixture.write_predictions(given, tmp_path / "l.zarr")
    else:
        given = given.isel(lat=slice(1, 7)) if way == "cut" else given
        mixture.predict(given).to_zarr(tmp_path / "l.zarr", consolidated=False)
    found = xarray.open_zarr(tmp_path / "l.zarr", consolidated=False)
    assert set(found.coords) == set(given.coords)
    for name, coordinate in given.coords.items():
        xarray.testing.assert_equal(found[name].variable, coordinate.variable)
        assert found[name].dtype == coordinate.dtype or coordinate.dtype.kind in "OTU"
        assert found[name].attrs == coordinate.attrs


def test_a_coordinate_with_a_space_in_its_name_is_told(tmp_path: Path) -> None:
    given = dataset().assign_coords({"wet bulb": ("time", np.arange(6.0))})
    mixture = GaussianMixture(2, random_state=0, max_iter=3, tol=0.1)
    mixture.fit(given, features=["t", "s"])
    with pytest.warns(UserWarning, match="'wet bulb' has a space"):
        mixture.write_predictions(given, tmp_path / "l.zarr")
    found = xarray.open_zarr(tmp_path / "l.zarr", consolidated=False)
    assert list(found.data_vars) == ["class"]
    assert "area" in found.coords


def test_filled_rows_tell_their_features(tmp_path: Path) -> None:
    stored(tmp_path / "rows.zarr")
    model = PPCA(1).fit(tmp_path / "rows.zarr", features=["t", "s"])
    model.write_filled(tmp_path / "rows.zarr", tmp_path / "f.zarr", deviation=True)
    with xarray.open_zarr(tmp_path / "f.zarr") as filled:
        assert list(filled.feature.values) == ["t", "s"]
        assert filled.deviation.dims == filled.filled.dims == (*GRID, "feature")
        assert set(filled.coords) == {*dataset().coords, "feature"}


def test_answers_are_rows_themselves(tmp_path: Path) -> None:
    stored(tmp_path / "rows.zarr")
    model = PPCA(1).fit(tmp_path / "rows.zarr", features=["t", "s"])
    model.write_scores(tmp_path / "rows.zarr", tmp_path / "s.zarr")
    source = ZarrSource.open(tmp_path / "s.zarr")
    assert source.schema.sample_dims == GRID
    assert source.schema.n_features == 1
    assert set(source.coordinates()) == set(dataset().coords)


def test_coordinates_of_features_stay_behind(tmp_path: Path) -> None:
    stored(tmp_path / "rows.zarr")
    source = ZarrSource.open(tmp_path / "rows.zarr", features=["t", "s"], sample_dims=["lat"])
    assert source.schema.sample_dims == ("lat",)
    assert list(source.coordinates()) == ["lat", "run"]


def test_units_of_features(tmp_path: Path) -> None:
    stored(tmp_path / "rows.zarr")
    source = ZarrSource.open(tmp_path / "rows.zarr", features=["s", "t"], sample_dims=GRID[:2])
    assert source.schema.feature_units == (None,) * 10 + ("K",) * 10
    source = ZarrSource.open(tmp_path / "rows.zarr", features=["depth"])
    assert source.schema.feature_units is None


def test_large_coordinates_are_left_out(tmp_path: Path, monkeypatch: Any) -> None:
    stored(tmp_path / "rows.zarr")
    monkeypatch.setattr("dask_em.sources.coordinates.LARGEST_BYTES", 100)
    source = ZarrSource.open(tmp_path / "rows.zarr", features=["t"])
    with pytest.warns(UserWarning, match="coordinate area takes .* and is not copied"):
        assert set(source.coordinates()) == {"time", "lat", "lon", "day", "run"}
