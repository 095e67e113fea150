"""One line per variant of xarray's containers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from dask_em.sources.xarray.source import XarraySource
from dask_em.testing.sources import SourceCase

RNG = np.random.default_rng(11)
GRID = ("time", "lat", "lon")
#: (time, lat, lon, feature): t, then s at two levels
CUBE = RNG.normal(size=(12, 5, 4, 3))
FLAT = CUBE.reshape(-1, 3)
DEPTH = RNG.normal(size=(5, 4))
AREA = np.linspace(0.25, 1.0, 5)
WEIGHTS = RNG.uniform(0.5, 2, size=(12, 5, 4))
GAPS = np.where(CUBE > 1.5, np.nan, CUBE)

READS: list[int] = []


def dataset(values: np.ndarray = CUBE) -> xr.Dataset:
    """Variables in different orders of dimensions, one with levels, one without time."""
    return xr.Dataset(
        {
            "t": (GRID, values[..., 0], {"units": "K", "long_name": "temperature"}),
            "s": (("lev", "lon", "time", "lat"), values[..., 1:].transpose(3, 2, 0, 1)),
            "depth": (("lat", "lon"), DEPTH, {"units": "m"}),
            "weight": (("lat", "time", "lon"), WEIGHTS.transpose(1, 0, 2)),
            "label": ("time", np.array([f"day {i}" for i in range(12)])),
        },
        coords={
            "time": np.datetime64("2001-01-01", "ns") + np.arange(12) * np.timedelta64(6, "h"),
            "lat": ("lat", np.linspace(-60.0, 60.0, 5), {"units": "degrees_north"}),
            "lon": np.arange(4) * 90.0,
            "lev": [10.0, 500.0],
            "station": (("lat", "lon"), np.arange(20).reshape(5, 4)),
            "region": ("lat", np.array(["south", "south", "tropics", "north", "north"])),
            "run": 7,
        },
        attrs={"title": "a test"},
    )


def area(ds: xr.Dataset) -> xr.DataArray:
    return xr.DataArray(AREA, {"lat": ds.lat}, ("lat",), name="area")


def stored(scratch: Path, values: np.ndarray = CUBE, encoding: Any = None, **options: Any) -> Path:
    path = scratch / "data.zarr"
    chunks = {name: {"chunks": lengths} for name, lengths in CHUNKS.items()}
    for name, more in (encoding or {}).items():
        chunks[name].update(more)
    ds = dataset(values)
    if encoding:
        ds = ds.drop_attrs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # text is not in the specification of Zarr 3 yet
        ds.to_zarr(path, mode="w", encoding=chunks, consolidated=False, **options)
    return path


#: in which variables are stored
CHUNKS = {"t": (4, 5, 2), "s": (1, 4, 4, 5), "depth": (2, 4), "weight": (5, 5, 4)}


def case(
    name: str,
    make: Callable[[Path], Any],
    rows: Any = FLAT,
    flat: Any = None,
    probe: Any = None,
    **options: Any,
) -> SourceCase:
    options = {"features": ["t", "s"], "sample_dims": GRID, **options}

    def source(scratch: Path) -> XarraySource:
        data = make(scratch)
        given = options.get("weights")
        return XarraySource.open(
            data, **{**options, "weights": given(data) if callable(given) else given}
        )

    return SourceCase(f"xarray-{name}", source, rows, flat, probe)


def array_case(name: str, make: Callable[[Path], Any], rows: Any, **options: Any) -> SourceCase:
    return SourceCase(
        f"xarray-array-{name}", lambda path: XarraySource.open(make(path), **options), rows
    )


def lazily(path: Path, **options: Any) -> xr.Dataset:
    return xr.open_zarr(stored(path, **options), chunks=None, consolidated=False)


def chunked(path: Path, **options: Any) -> xr.Dataset:
    return xr.open_zarr(stored(path, **options), consolidated=False)


def netcdf(path: Path, engine: str = "netcdf4", **options: Any) -> xr.Dataset:
    if engine == "netcdf4":
        pytest.importorskip("netCDF4", reason="netCDF4 is not installed")
    file = path / "data.nc"
    if not file.exists():
        packed = {"s": {"chunksizes": (1, 4, 4, 5)}} if engine == "netcdf4" else {}
        dataset().to_netcdf(file, engine=engine, encoding=packed)
    return xr.open_dataset(file, engine=engine, **options)


def counted(block: np.ndarray) -> np.ndarray:
    if block.size:
        READS.append(block.size)
    return block


def computed(_: Path) -> xr.Dataset:
    """What no store holds, in chunks that differ between variables and cut the levels."""
    ds = dataset().drop_vars("label").chunk(time=3, lat=2)
    ds["s"] = ds.s.chunk(time=6, lat=5, lev=1)
    ds["t"] = ds.t.copy(data=ds.t.data.map_blocks(counted, dtype=float))
    return ds * 1.0


def one_missing(path: Path) -> xr.Dataset:
    return lazily(path, values=GAPS)


def from_files(path: Path) -> xr.Dataset:
    pytest.importorskip("netCDF4", reason="netCDF4 is not installed")
    parts = [dataset().isel(time=slice(i, i + 6)).drop_vars("label") for i in (0, 6)]
    files = [path / f"{i}.nc" for i in range(2)]
    for part, file in zip(parts, files, strict=True):
        if not file.exists():
            part.to_netcdf(file, engine="netcdf4")
    # decoded lazily, one graph over all files
    return xr.open_mfdataset(
        files,
        engine="netcdf4",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine="by_coords",
    )


PACKED = {
    "t": {"dtype": "i2", "scale_factor": 0.001, "add_offset": 1.5, "_FillValue": -32768},
    "s": {"dtype": "i4", "scale_factor": 1e-6, "_FillValue": -99},
}


def unpacked(values: np.ndarray) -> np.ndarray:
    t = np.round((values[..., 0] - 1.5) / 0.001) * 0.001 + 1.5
    s = np.round(values[..., 1:] / 1e-6) * 1e-6
    return np.concatenate([t[..., None], s], axis=-1).reshape(-1, 3)


SLICED = {"time": slice(3, 11, 2), "lat": slice(None, None, -1), "lon": slice(1, 4)}
CUT = CUBE[3:11:2, ::-1, 1:].reshape(-1, 3)
BOX = {"time": slice(3, 11), "lon": slice(1, 4)}
BOXED = CUBE[3:11, :, 1:].reshape(-1, 3)
FLAT_WEIGHTS = WEIGHTS.reshape(-1)
FLAT_AREA = np.broadcast_to(AREA[None, :, None], (12, 5, 4)).reshape(-1)
TURNED = CUBE.transpose(2, 0, 1, 3)
WITH_DEPTH = np.stack([CUBE[..., 0], np.broadcast_to(DEPTH, (12, 5, 4))], axis=-1).reshape(-1, 2)
SINGLE = FLAT.astype("f4")
ROWS = RNG.normal(size=(30, 3))


def plain(_: Path) -> xr.Dataset:
    return dataset()


def half_loaded(path: Path) -> xr.Dataset:
    ds = lazily(path)
    ds.t.load()
    return ds


def unified(path: Path) -> xr.Dataset:
    return chunked(path).chunk(time=4, lat=5, lon=4, lev=2)


def beside(path: Path) -> xr.Dataset:
    ds = lazily(path)
    ds["t"] = chunked(path).t * 1.0
    return ds


XARRAY = [
    case("memory", plain),
    case("memory-turned", plain, TURNED.reshape(-1, 3), sample_dims=("lon", "time", "lat")),
    case("memory-sliced", lambda _: dataset().isel(SLICED), CUT),
    case("memory-float32", lambda _: dataset(CUBE.astype("f4")), SINGLE),
    case("memory-empty", lambda _: dataset().isel(time=slice(0, 0)), FLAT[:0]),
    case("memory-broadcast", plain, WITH_DEPTH, features=["t", "depth"]),
    case("memory-all", lambda _: dataset()[["t"]], FLAT[:, :1], features=None),
    case(
        "memory-some-dims",
        lambda _: dataset()[["t"]],
        CUBE[..., 0].transpose(1, 2, 0).reshape(20, 12),
        features=None,
        sample_dims=("lat", "lon"),
    ),
    case("lazy", lazily),
    case("lazy-sliced", lambda path: lazily(path).isel(SLICED), CUT),
    case("lazy-box", lambda path: lazily(path).isel(BOX), BOXED),
    case(
        "lazy-turned",
        lambda path: lazily(path).transpose("lon", "lev", "time", ...),
        TURNED.reshape(-1, 3),
        sample_dims=("lon", "time", "lat"),
    ),
    case("lazy-broadcast", lazily, WITH_DEPTH, features=["t", "depth"]),
    case("lazy-gaps", one_missing, GAPS.reshape(-1, 3)),
    case("lazy-empty", lambda path: lazily(path).isel(time=slice(0, 0)), FLAT[:0]),
    case("lazy-loaded-half", half_loaded),
    case("packed", lambda path: lazily(path, encoding=PACKED), unpacked(CUBE)),
    case("packed-chunked", lambda path: chunked(path, encoding=PACKED), unpacked(CUBE)),
    case("v2", lambda path: lazily(path, zarr_format=2)),
    case("chunked", chunked),
    case("chunked-box", lambda path: chunked(path).isel(BOX), BOXED),
    case("chunked-sliced", lambda path: chunked(path).isel(SLICED), CUT),
    case("chunked-otherwise", lambda path: lazily(path).chunk(time=5, lev=1)),
    case("chunked-memory", lambda _: dataset().chunk(time=5, lon=3)),
    case("chunked-empty", lambda path: chunked(path).isel(time=slice(0, 0)), FLAT[:0]),
    case("computed", computed, probe=lambda: len(READS)),
    case(
        "computed-masked",
        lambda path: unified(path).pipe(lambda ds: ds.where(ds.t < 1)),
        np.where(FLAT[:, :1] < 1, FLAT, np.nan),
    ),
    case("computed-beside-lazy", beside),
    case("netcdf", netcdf),
    case("netcdf-chunked", lambda path: netcdf(path, chunks={})),
    case("netcdf-sliced", lambda path: netcdf(path).isel(SLICED), CUT),
    case("netcdf-files", from_files),
    case("netcdf-scipy", lambda path: netcdf(path, "scipy")),
    case("weights", plain, FLAT, FLAT_WEIGHTS, weights="weight"),
    case("weights-area", plain, FLAT, FLAT_AREA, weights=area),
    case("weights-array", chunked, FLAT, FLAT_WEIGHTS, weights=WEIGHTS),
    case("weights-lazy", lazily, FLAT, FLAT_WEIGHTS, weights="weight"),
    case("weights-chunked", chunked, FLAT, FLAT_WEIGHTS, weights="weight"),
    case("weights-lazy-area", lazily, FLAT, FLAT_AREA, weights=area),
    case("weights-chunked-area", chunked, FLAT, FLAT_AREA, weights=area),
    case(
        "weights-computed",
        chunked,
        FLAT,
        np.exp(FLAT_WEIGHTS),
        weights=lambda ds: np.exp(ds.weight),
    ),
    case("weights-dask", chunked, FLAT, FLAT_WEIGHTS, weights=da.from_array(WEIGHTS, chunks=5)),
    array_case("last", lambda _: xr.DataArray(ROWS), ROWS),
    array_case("named", lambda _: dataset().t, FLAT[:, :1], sample_dims=GRID),
    array_case(
        "levels", lambda _: dataset().s.transpose(..., "lev"), TURNED[..., 1:].reshape(-1, 2)
    ),
    array_case("lazy", lambda path: lazily(path).s, FLAT[:, 1:], sample_dims=GRID),
]
