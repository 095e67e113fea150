from __future__ import annotations

import numpy as np
import pytest

from dask_em.engine.plan import Plan, Resources, readable_bytes
from dask_em.errors import DataError, PlanError
from tests.engine.sources import MadeSource


def source(n_chunks: int, size: int = 4096, d: int = 16) -> MadeSource:
    return MadeSource(np.broadcast_to(np.float64(1), (n_chunks * size, d)), size)


@pytest.mark.parametrize("n_threads", [1, 2, 8, 64])
def test_tasks_follow_the_cluster_and_leaves_do_not(n_threads):
    made = source(4000)  # 2 GB
    plan = Plan.make(made, Resources(n_threads, 1, None))
    assert plan.n_leaves == 512
    assert min(16, 4 * n_threads) <= plan.n_tasks <= 512
    assert plan.n_tasks.bit_count() == 1
    chunks = [i for task in plan.partitions(made) for leaf in task for i in leaf.chunks]
    assert chunks == list(range(4000))


def test_small_data_are_one_task():
    assert Plan.make(source(4, 100), Resources(8, 8, None)).n_tasks == 1


def test_a_plan_that_cannot_fit_is_refused_with_the_numbers():
    made = source(8, size=1 << 19)  # 67 MB a chunk
    with pytest.raises(PlanError, match=r"336 MB .* 67.1 MB .* 50 MB of its 200 MB") as refused:
        Plan.make(made, Resources(2, 1, 200_000_000))
    assert "smaller chunks" in str(refused.value)
    Plan.make(made, Resources(2, 1, 600_000_000))


def test_more_threads_a_worker_need_more_memory():
    made = source(8, size=1 << 19)
    with pytest.raises(PlanError, match="runs 4 at a time"):
        Plan.make(made, Resources(4, 4, 1_000_000_000))


def test_no_chunks_no_plan():
    with pytest.raises(DataError, match="no rows"):
        Plan.make(source(0), Resources(1, 1, None))


@pytest.mark.parametrize(
    ("n", "text"), [(12, "12 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e12, "3 TB")]
)
def test_readable_bytes(n, text):
    assert readable_bytes(n) == text
