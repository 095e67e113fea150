"""The memory of a cache: within its bytes, below what makes Dask take it back, and freed."""

from __future__ import annotations

import os
import time

import psutil
from distributed import Client, LocalCluster

from dask_em.engine import cache as caching
from dask_em.engine.monitor import Monitor
from dask_em.engine.plan import Plan
from dask_em.engine.room import parse_cache
from dask_em.engine.runner import ClusterRunner
from dask_em.engine.stream import Reading, Tally, fold_leaves
from tests.budgets.test_pass import CountedSource

LIMIT = 800_000_000
ROWS = 1 << 17  # 4 MiB


def read(leaves, reading, stopped):
    return fold_leaves(leaves, reading, lambda piece: piece.tally, stopped)


def pinned_bytes():
    return sum(pins.pinned_bytes for pins in caching._held.values())


def process():
    return os.getpid(), psutil.Process().memory_info().rss


def said(client):
    """What workers warn of: memory that is high, spilling, pausing."""
    logs = client.get_worker_logs().values()
    return [text for log in logs for level, text in log if level not in ("INFO", "DEBUG")]


def test_a_cache_that_takes_all_it_may_is_neither_spilled_nor_paused(monkeypatch):
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: 16)
    source = CountedSource(128, ROWS)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", memory_limit=LIMIT,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        runner = ClusterRunner(client)
        plan = Plan.make(source, runner.resources)
        partitions = plan.partitions(source)
        cache = parse_cache("auto", plan, runner.resources, local=False)
        assert 20e6 < cache.nbytes < source.schema.nbytes / 2, "it holds a part of the data"
        before, shares = client.run(process), []
        with runner.keeping(cache):
            for _ in range(4):
                reading = Reading(source.schema, cache=cache)
                tally: Tally = runner.reduce("em-read", read, partitions, reading, Monitor())
                time.sleep(0.5)  # the worker looks at its memory every 0.1 s
                held, after = client.run(pinned_bytes), client.run(process)
                assert tally.block_bytes == source.schema.nbytes
                assert tally.cached_bytes <= sum(held.values())
                shares.append(tally.cached_bytes / sum(held.values()))
                assert all(0.9 * cache.nbytes < n <= cache.nbytes for n in held.values())
                # Dask spills at 70%
                assert all(rss < 0.65 * LIMIT for _, rss in after.values())
        # on a busy machine Dask moves a task now and then, which finds nothing where it comes to
        assert shares[0] == 0
        assert max(shares) > 0.9
        workers = client.scheduler_info()["workers"].values()
        assert [worker["status"] for worker in workers] == ["running"] * 2
        assert [sum(worker["metrics"]["spilled_bytes"].values()) for worker in workers] == [0, 0]
        assert said(client) == []
        assert {pid for pid, _ in before.values()} == {pid for pid, _ in after.values()}
        end = time.monotonic() + 20
        while any(client.run(pinned_bytes).values()) and time.monotonic() < end:
            time.sleep(0.05)
        freed = client.run(process)
    for address, nbytes in held.items():
        assert after[address][1] - freed[address][1] > 0.9 * nbytes, "freed and given back"
