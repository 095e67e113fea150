"""Memory of a worker that reads several chunks at a time: within the plan's promise."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from distributed import Client, LocalCluster

from dask_em.engine.monitor import Monitor
from dask_em.engine.plan import Plan
from dask_em.engine.runner import ClusterRunner
from dask_em.engine.stream import Piece, Reading, Tally, fold_leaves
from tests.budgets.test_pass import CountedSource


def read(leaves: Any, reading: Reading, stopped: Any) -> Tally | None:
    def part(piece: Piece) -> Tally:
        time.sleep(0.08)  # reading is faster, so that all that may be read ahead is
        return piece.tally

    return fold_leaves(leaves, reading, part, stopped)


def peak() -> int:
    """The most memory that this process ever held, bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is that of Linux")
def test_a_worker_that_reads_several_chunks_at_a_time_holds_what_was_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: 2)  # of 600 MB each
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, host="127.0.0.1", memory_limit="2GB",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        runner, before = ClusterRunner(client), 0
        for source in (
            CountedSource(8, 100, reads_at_once=4),  # what is imported is not counted
            CountedSource(144, 1 << 18, reads_at_once=4),  # chunks of 8 MiB
        ):
            plan, reading = Plan.make(source, runner.resources), Reading(source.schema)
            tally = runner.reduce("em-read", read, plan.partitions(source), reading, Monitor())
            assert tally.nbytes == source.schema.nbytes
            (most,) = client.run(peak).values()
            held, before = most - before, most
    assert plan.reads_at_once == 4
    assert source.schema.nbytes > 2 * plan.worker_bytes
    assert held < plan.worker_bytes
