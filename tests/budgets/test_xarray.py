"""What a plan promises of xarray's containers, a fit keeps."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import dask_em
from tests.budgets.test_promise import mixture, rest, status

GRID = ["time", "lat", "lon"]
FEATURES = [f"v{i}" for i in range(4)]
START = {
    "weights_init": np.full(4, 0.25),
    "means_init": np.linspace(-1, 2, 16).reshape(4, 4),
    "precisions_init": np.stack([np.eye(4)] * 4),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 MB: four variables in chunks of 1 MB, as Zarr and as NetCDF."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    shape, chunks = (30, 250, 400), (5, 125, 400)
    ds = xr.Dataset(
        {
            name: (GRID, np.round(rng.standard_normal(shape, dtype="f4") + i % 2, 2))
            for i, name in enumerate(FEATURES)
        }
    )
    encoding = {name: {"chunks": chunks} for name in FEATURES}
    ds.to_zarr(folder / "x.zarr", encoding=encoding, consolidated=False)
    if find_spec("netCDF4") is not None:
        encoding = {name: {"chunksizes": chunks, "zlib": True, "complevel": 1} for name in FEATURES}
        ds.to_netcdf(folder / "x.nc", engine="netcdf4", encoding=encoding)
    return folder


@pytest.fixture
def worker() -> Iterator[Client]:
    """A fresh worker: what it holds at its peak is what one fit took."""
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=2, memory_limit="2GB", host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )  # fmt: skip
    with cluster, Client(cluster) as client:
        yield client


def opened(folder: Path, kind: str) -> xr.Dataset:
    if kind == "netcdf":
        pytest.importorskip("netCDF4", reason="netCDF4 is not installed")
        return xr.open_dataset(folder / "x.nc", engine="netcdf4")
    ds = xr.open_zarr(folder / "x.zarr", consolidated=False)
    return ds.where(ds.v0 > -9) * 2 if kind == "computed" else ds


@pytest.mark.filterwarnings("ignore:Best performing initialization")
@pytest.mark.parametrize("kind", ["zarr", "netcdf", "computed"])
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux counts peaks")
def test_fit_keeps_the_promise(folder: Path, worker: Client, kind: str) -> None:
    ds = opened(folder, kind)
    model = mixture().set_params(**START, algorithm="em")  # the passes alone
    options = {"features": FEATURES, "sample_dims": GRID}
    promise = dask_em.plan(ds, model, client=worker, probe=False, **options)
    (at_rest,) = worker.run(rest).values()
    history = model.fit(ds, client=worker, **options).history_
    (peak,) = worker.run(status, "VmHWM").values()
    assert {record.nbytes for record in history} == {promise.nbytes}
    assert {record.n_tasks for record in history} == {promise.n_tasks}
    assert peak - at_rest <= promise.worker_bytes
