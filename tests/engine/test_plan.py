from __future__ import annotations

import re

import numpy as np
import pytest

from dask_em import open_source
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
    with pytest.raises(PlanError, match=r"336 MB .* 67.1 MB .* 230 MB of its 600 MB") as refused:
        Plan.make(made, Resources(2, 1, 600_000_000))
    assert "smaller chunks, of at most 32.6 MB" in str(refused.value)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_refusal_proposes_is_enough(threads):
    made = source(8, size=1 << 19)
    with pytest.raises(PlanError) as refused:
        Plan.make(made, Resources(threads, threads, 600_000_000))
    memory = int(re.search(r"--memory (\d+)MB", str(refused.value))[1])
    Plan.make(made, Resources(threads, threads, memory * 1_000_000))
    with pytest.raises(PlanError):
        Plan.make(made, Resources(threads, threads, (memory - 3) * 1_000_000))


def test_smaller_chunks_that_are_proposed_are_enough():
    Plan.make(source(8, size=19_100_000 // 128), Resources(2, 1, 600_000_000))


def test_fewer_threads_are_proposed_first():
    made = source(8, size=1 << 19)
    with pytest.raises(PlanError, match=r"runs 4 at a time, .*; run 2 threads per worker"):
        Plan.make(made, Resources(4, 4, 1_500_000_000))
    Plan.make(made, Resources(2, 2, 1_500_000_000))
    with pytest.raises(PlanError, match="runs 3 at a time"):
        Plan.make(made, Resources(3, 3, 1_500_000_000))


def test_what_a_model_needs_beside_its_tasks_is_refused_with_the_numbers():
    made, resources = source(8), Resources(2, 1, 1_000_000_000)
    plan = Plan.make(made, resources)
    plan.check_also(300_000_000, "the model's sums", resources, made.schema)
    with pytest.raises(PlanError, match=r"the model's sums 500 MB, but 550 MB of its 1 GB") as no:
        plan.check_also(500_000_000, "the model's sums", resources, made.schema)
    memory = int(re.search(r"--memory (\d+)MB", str(no.value))[1]) * 1_000_000
    plan.check_also(500_000_000, "the model's sums", Resources(2, 1, memory), made.schema)


def test_bytes_of_a_pass_count_the_weights():
    rows = np.ones((1000, 3), np.float32)
    assert Plan.make(open_source(rows), Resources(1, 1, None)).nbytes == 12_000
    weighed = open_source(rows, sample_weight=np.ones(1000))
    assert Plan.make(weighed, Resources(1, 1, None)).nbytes == 20_000


def test_no_chunks_no_plan():
    with pytest.raises(DataError, match="no rows"):
        Plan.make(source(0), Resources(1, 1, None))


@pytest.mark.parametrize(
    ("n", "text"), [(12, "12 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e12, "3 TB")]
)
def test_readable_bytes(n, text):
    assert readable_bytes(n) == text
