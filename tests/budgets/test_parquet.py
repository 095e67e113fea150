"""What a plan promises of Parquet: the memory of a worker, reading and writing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster

import dask_em
from dask_em import GaussianMixture
from tests.budgets.test_promise import status

THREADS = 2
ROWS, D = 1 << 21, 8  # 134 MB, in a single row group in each of the large files


@pytest.fixture(scope="module", params=["small", "filtered", "large"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict:
    home = tmp_path_factory.mktemp(request.param)
    group = ROWS if request.param == "large" else 1 << 15
    rng = np.random.default_rng(0)
    for number in range(2):
        rows = rng.normal(size=(ROWS, D)) + 3 * rng.integers(3, size=(ROWS, 1))
        columns = {f"x{j}": rows[:, j] for j in range(D)}
        columns |= {f"not_read_{j}": rows[:, 0] for j in range(2)}
        pq.write_table(
            pa.table(columns),
            home / f"{number}.parquet",
            row_group_size=group,
            use_dictionary=False,
            compression="zstd",
        )
    where = "x0 > 0" if request.param == "filtered" else None
    return {"X": home, "features": ["x*"], "where": where}


@pytest.fixture
def worker() -> Iterator[Client]:
    """One fresh worker."""
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=THREADS, memory_limit="2.5GB", host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )  # fmt: skip
    with cluster, Client(cluster) as client:
        yield client


def rest() -> int:
    """What this process takes with its libraries loaded; its peak is counted anew from here."""
    import sklearn.mixture  # noqa: F401

    import dask_em.estimators.gaussian_mixture
    import dask_em.sources.parquet.output  # noqa: F401

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


@pytest.mark.filterwarnings("ignore:Best performing initialization")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux counts peaks")
def test_the_promise_is_kept(data: dict, worker: Client, tmp_path: Path) -> None:
    model = GaussianMixture(3, max_iter=2, tol=0, random_state=0, algorithm="em")
    chosen = {name: data[name] for name in ("features", "where")}
    promise = dask_em.plan(data["X"], model, client=worker, probe=False, **chosen)
    (at_rest,) = worker.run(rest).values()
    model.fit(**data, client=worker)
    (peak,) = worker.run(status, "VmHWM").values()
    print(f"{peak - at_rest:,} of {promise.worker_bytes:,}")
    assert peak - at_rest <= promise.worker_bytes
    worker.run(rest)
    model.write_predictions(
        data["X"],
        tmp_path / "out",
        keys=["not_read_0"],
        probabilities=True,
        client=worker,
        **chosen,
    )
    (peak,) = worker.run(status, "VmHWM").values()
    print(f"{peak - at_rest:,} of {promise.worker_bytes:,}")
    assert peak - at_rest <= promise.worker_bytes
