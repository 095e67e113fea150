"""What a plan promises, a fit keeps: memory of workers and client, bytes and tasks of a pass."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import dask_em
from dask_em import Gaussian, GaussianMixture, Mixture
from dask_em.engine.promise import Promise
from dask_em.models.seeding import KMeans
from tests.benchmarks.stores import planted_store

THREADS = 2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """100 MB in chunks of 4 MB, which are read four at a time."""
    return str(planted_store(tmp_path_factory.mktemp("data") / "x.zarr", 100 << 20, k=4,
                             chunk_bytes=4 << 20))  # fmt: skip


@pytest.fixture(scope="module")
def worker() -> Iterator[Client]:
    """One fresh worker: what it holds at its peak is what this module's fits took."""
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=THREADS, memory_limit="2GB", host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )  # fmt: skip
    with cluster, Client(cluster) as client:
        yield client


def mixture() -> GaussianMixture:
    return GaussianMixture(4, max_iter=2, tol=0, random_state=0)


def status(name: str) -> int:
    """Bytes of an entry of this process."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{name}:\s+(\d+)", text)[1]) * 1024


def rest() -> int:
    """What this process takes with its libraries loaded; its peak is counted anew from here."""
    import sklearn.mixture  # noqa: F401

    import dask_em.estimators.gaussian_mixture
    import dask_em.sources.zarr  # noqa: F401

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


@pytest.mark.filterwarnings("ignore:Best performing initialization")
@pytest.mark.parametrize("algorithm", ["em", "accelerated"])
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux counts peaks")
def test_fit_keeps_the_promise(store: str, worker: Client, algorithm: str) -> None:
    model = mixture().set_params(algorithm=algorithm)
    promise = dask_em.plan(store, model, client=worker, probe=False)
    (at_rest,) = worker.run(rest).values()
    tracemalloc.start()
    try:
        history = model.fit(store, client=worker).history_
        _, client_peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (peak,) = worker.run(status, "VmHWM").values()
    assert {record.nbytes for record in history} == {promise.nbytes}
    assert {record.n_tasks for record in history} == {promise.n_tasks}
    assert peak - at_rest <= promise.worker_bytes
    assert client_peak <= promise.client_bytes


def kept(promise: Promise, fitted: GaussianMixture) -> bool:
    history = fitted.history_
    return {(record.nbytes, record.n_tasks, record.rows) for record in history} == {
        (promise.nbytes, promise.n_tasks, promise.n_rows)
    }


@pytest.mark.filterwarnings("ignore:Best performing initialization")
@pytest.mark.parametrize("weighed", [False, True])
def test_bytes_and_tasks_of_any_source(store: str, weighed: bool) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30_000, 3))
    weights = rng.random(30_000) + 0.1 if weighed else None
    for data in (rows, da.from_array(rows, chunks=(7000, 3))):
        promise = dask_em.plan(data, mixture(), weights=weights, probe=False)
        assert kept(promise, mixture().fit(data, sample_weight=weights))


def test_probe_on_the_cluster(store: str, worker: Client) -> None:
    promise = dask_em.plan(store, mixture(), client=worker)
    assert (promise.n_workers, promise.n_threads) == (1, THREADS)
    assert 0 < promise.probed_bytes <= promise.nbytes
    assert min(promise.seconds, promise.read_seconds, promise.compute_seconds) > 0
    assert "probe" in str(promise)


def test_probe_of_a_bare_model_here() -> None:
    rows = np.random.default_rng(0).normal(size=(5000, 2))
    promise = dask_em.plan(rows, Mixture(Gaussian(), 3, KMeans()))
    assert promise.probed_bytes == rows.nbytes
    assert promise.to_dict()["seconds"] > 0


def test_rows_of_unknown_number() -> None:
    rows = np.random.default_rng(0).normal(size=(5000, 2))
    lazy = da.from_array(rows, chunks=(500, 2))
    some = lazy[lazy[:, 0] > 0]
    promise = dask_em.plan(some, mixture())
    assert promise.n_rows is None
    assert promise.nbytes is None
    assert promise.seconds > 0
    assert "unknown number of rows" in str(promise)


def test_no_rows_to_measure() -> None:
    rows = np.full((1000, 2), np.nan)
    promise = dask_em.plan(rows, mixture(), missing="drop")
    assert promise.seconds is None
    assert "hold no row" in str(promise)


def test_a_cache_spares_later_passes(store: str, worker: Client) -> None:
    promise = dask_em.plan(store, mixture(), client=worker, cache=20_000_000)
    plain = dask_em.plan(store, mixture(), client=worker, probe=False)
    assert promise.cached_bytes == 20_000_000
    assert promise.worker_bytes == plain.worker_bytes + 20_000_000
    assert "then cached" in str(promise)
