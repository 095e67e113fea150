"""Caches on a cluster: what is lost costs itself, what is not wanted is freed, bits stay."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager

import dask
import pytest
from distributed import Client, LocalCluster

from dask_em import ChunkError
from dask_em.engine import cache as caching
from dask_em.engine.cache import Cache
from dask_em.engine.runner import ClusterRunner, LocalRunner
from dask_em.engine.stream import Reading
from tests.engine.sources import MadeSource, Script
from tests.engine.test_cache import ROWS, bytes_for, passes

N_TASKS = 16


@pytest.fixture(autouse=True)
def tasks(monkeypatch):
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: N_TASKS)


@pytest.fixture(scope="module")
def expected():
    source = MadeSource(ROWS, 50)
    return passes(LocalRunner(1), source, Reading(source.schema), 1)[0].statistics


@pytest.fixture(scope="module")
def steady_cluster():
    with cluster_of(2, stealing=False) as client:
        yield client.cluster


@pytest.fixture
def steady(steady_cluster):
    with Client(steady_cluster) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


@contextmanager
def cluster_of(n_workers, stealing, **options):
    """A cluster; where workers do not take each other's tasks, what is read can be told."""
    with (
        dask.config.set({"distributed.scheduler.work-stealing": stealing}),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            **options,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def pinned_bytes():
    gc.collect()
    return sum(pins.pinned_bytes for pins in caching._held.values())


def soon(condition, seconds=20):
    """Whether something comes true before it is too late."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def freed(client):
    return soon(lambda: not any(client.run(pinned_bytes).values()))


def shares(runner, source, cache, n):
    """The share of the bytes that each of n passes read, and their statistics."""
    summed = passes(runner, source, Reading(source.schema, cache=cache), n)
    read = [one.tally.nbytes / source.schema.nbytes for one in summed]
    return read, [one.statistics for one in summed]


def test_half_of_the_data(client, expected):
    source = MadeSource(ROWS, 50, seconds=0.002)
    cache, runner = Cache("half", bytes_for(source, 1 / 4)), ClusterRunner(client)
    with runner.keeping(cache):
        read, statistics = shares(runner, source, cache, 5)
        held = client.run(pinned_bytes)
    assert read[0] == 1
    assert max(read[1:]) <= 0.55, read
    assert all(0 < nbytes <= cache.nbytes for nbytes in held.values())
    assert all(one.equals(expected) for one in statistics)
    assert freed(client)


def test_workers_that_share_a_process(expected):
    source = MadeSource(ROWS, 50)
    cache = Cache("threads", bytes_for(source, 1))
    with cluster_of(2, stealing=False, processes=False, protocol="tcp://") as client:
        runner = ClusterRunner(client)
        with runner.keeping(cache):
            read, statistics = shares(runner, source, cache, 2)
        assert read == [1, 0]
        assert all(one.equals(expected) for one in statistics)
        assert soon(lambda: not pinned_bytes())


def test_a_lost_worker_costs_its_part_again_and_nothing_else(expected):
    source = MadeSource(ROWS, 50, seconds=0.002)
    cache = Cache("lost", bytes_for(source, 1))
    with cluster_of(4, stealing=False) as client:
        runner = ClusterRunner(client)
        with runner.keeping(cache):
            shares(runner, source, cache, 1)
            held = client.run(pinned_bytes)
            victim = next(iter(held))
            nanny = client.scheduler_info(n_workers=-1)["workers"][victim]["nanny"]
            client.restart_workers([victim], timeout=60)
            assert nanny
            read, statistics = shares(runner, source, cache, 3)
        lost = (held[victim] / sum(held.values())) * source.schema.n_chunks
        assert 0 < lost < source.schema.n_chunks / 2
        assert read == [pytest.approx(lost / source.schema.n_chunks, abs=0.01), 0, 0]
        assert all(one.equals(expected) for one in statistics)


def test_a_worker_is_killed_in_mid_pass(expected, steady, tmp_path):
    script = Script(70, "kill", tmp_path / "died")
    source = MadeSource(ROWS, 50, seconds=0.002, script=script)
    cache, runner = Cache("killed", bytes_for(source, 1)), ClusterRunner(steady)
    with runner.keeping(cache):
        read, statistics = shares(runner, source, cache, 1)
        steady.wait_for_workers(2, timeout=60)
        more, others = shares(runner, source, cache, 3)
    assert (tmp_path / "died").exists()
    assert read == [1]
    # tasks that went to the other worker, for want of theirs, have been home again
    assert more[2] == 0
    assert all(one.equals(expected) for one in statistics + others)
    assert freed(steady)


def test_a_busy_worker_is_not_waited_for(client, expected):
    source = MadeSource(ROWS, 50, seconds=0.002)
    cache, runner = Cache("busy", bytes_for(source, 1)), ClusterRunner(client)
    with runner.keeping(cache):
        shares(runner, source, cache, 1)
        one = next(iter(client.scheduler_info()["workers"]))
        begin = time.monotonic()
        other = client.submit(time.sleep, 60, workers=[one], pure=False)
        _, statistics = shares(runner, source, cache, 1)
        assert time.monotonic() - begin < 50
        other.cancel()
    assert statistics[0].equals(expected)
    client.restart(timeout=60)


def test_workers_restarted_by_somebody_else(steady, expected):
    source = MadeSource(ROWS, 50)
    cache, runner = Cache("restarted", bytes_for(source, 1)), ClusterRunner(steady)
    with runner.keeping(cache):
        shares(runner, source, cache, 2)
        steady.restart(timeout=60)
        read, statistics = shares(runner, source, cache, 2)
    assert read == [1, 0]
    assert all(one.equals(expected) for one in statistics)
    assert freed(steady)


def test_caches_that_are_cancelled_while_their_workers_stay(steady, expected):
    """As by a restart, where workers come back at their addresses."""
    source = MadeSource(ROWS, 50)
    cache, runner = Cache("cancelled", bytes_for(source, 1)), ClusterRunner(steady)
    with runner.keeping(cache):
        shares(runner, source, cache, 1)
        steady.cancel(list(runner._homes._caches.values()))
        assert freed(steady)
        read, statistics = shares(runner, source, cache, 2)
    assert read == [1, 0]
    assert all(one.equals(expected) for one in statistics)


def spilled(dask_worker):
    """What a worker does when its process is out of memory."""
    while dask_worker.data.fast:
        dask_worker.data.evict()


def test_a_worker_short_of_memory_frees_its_cache_and_reads(steady, expected):
    source = MadeSource(ROWS, 50)
    cache, runner = Cache("spilled", bytes_for(source, 1)), ClusterRunner(steady)
    with runner.keeping(cache):
        shares(runner, source, cache, 1)
        assert any(steady.run(pinned_bytes).values())
        steady.run(spilled)
        assert freed(steady)
        read, statistics = shares(runner, source, cache, 2)
    assert read == [1, 1]
    assert all(one.equals(expected) for one in statistics)


def test_a_worker_that_retires_gives_its_part_to_the_others(expected):
    source = MadeSource(ROWS, 50)
    cache = Cache("retired", bytes_for(source, 1))
    with cluster_of(2, stealing=False) as client:
        runner = ClusterRunner(client)
        with runner.keeping(cache):
            shares(runner, source, cache, 1)
            client.retire_workers([next(iter(client.scheduler_info()["workers"]))])
            read, statistics = shares(runner, source, cache, 2)
        assert 0.4 < read[0] < 0.6
        assert read[1] == 0
        assert all(one.equals(expected) for one in statistics)


def test_a_client_that_leaves_takes_its_cache_along(cluster, client):
    source = MadeSource(ROWS, 50)
    cache = Cache("left", bytes_for(source, 1))
    with Client(cluster, set_as_default=False) as other:
        runner = ClusterRunner(other)
        context = runner.keeping(cache)
        context.__enter__()
        shares(runner, source, cache, 1)
        assert any(client.run(pinned_bytes).values())
    assert freed(client)


def test_a_fit_that_fails_frees_its_chunks(client):
    source = MadeSource(ROWS, 50, script=Script(70, "fail"))
    cache, runner = Cache("failed", bytes_for(source, 1)), ClusterRunner(client)
    with pytest.raises(ChunkError), runner.keeping(cache):
        shares(runner, source, cache, 1)
    assert freed(client)
