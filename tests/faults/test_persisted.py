"""Blocks that a cluster holds are lost with a worker whose threads nobody replaces."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from threading import Event, Thread

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, wait

from dask_em import ClusterError
from dask_em.sources.dask import DaskSource
from tests.faults.test_bits import ROWS, bits

CHUNKS = (50, 3)


@contextmanager
def worker(address):
    """A worker of one thread, without a nanny to start it again."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny"]
    process = subprocess.Popen(
        [*command, "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def two_workers():
    """A client and two worker processes."""
    with ExitStack() as stack:
        cluster = stack.enter_context(
            LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0")
        )
        client = stack.enter_context(Client(cluster))
        address = cluster.scheduler_address
        processes = [stack.enter_context(worker(address)) for _ in range(2)]
        client.wait_for_workers(2, timeout=60)
        client.run(be_impatient)
        yield client, processes


def be_impatient():
    import dask_em.sources.graph

    dask_em.sources.graph.PATIENCE = 1.0


@contextmanager
def killed(process, folder):
    """The process is killed when some blocks have been read."""
    over = Event()

    def kill():
        while not over.wait(0.02):
            if len(list(folder.iterdir())) > 5:
                process.kill()
                return

    thread = Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def persisted(client):
    array = client.persist(da.from_array(ROWS, chunks=CHUNKS).map_blocks(np.copy, dtype=float))
    wait(array)
    return array


def slowly(block, folder):
    (folder / str(hash(block.tobytes()))).touch()
    time.sleep(0.005)
    return block


@pytest.fixture(scope="module")
def expected():
    return bits(DaskSource(da.from_array(ROWS, chunks=CHUNKS)))


def test_lost_blocks_are_made_again_where_all_threads_wait_for_them(
    two_workers, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: 4)
    client, processes = two_workers
    array = persisted(client)
    source = DaskSource(array.map_blocks(slowly, tmp_path, dtype=float, meta=ROWS[:0]))
    with killed(processes[0], tmp_path):
        assert bits(source, client) == expected
    assert processes[0].poll() is not None
    assert len(client.scheduler_info()["workers"]) == 1


def test_a_task_that_fetches_a_lost_block_itself_makes_way(two_workers):
    """As in a lazy prediction, which no pass runs."""
    client, processes = two_workers
    array = persisted(client)
    partition = DaskSource(array).partition(range(128))

    def read(partition):
        reader = partition.open()
        return [reader(index).block.values.sum() for index in partition.chunks]

    processes[0].kill()
    processes[0].wait()
    found = client.submit(read, partition).result(timeout=120)
    np.testing.assert_allclose(sum(found), ROWS.sum())


def test_blocks_that_cannot_be_made_again_end_with_advice(two_workers):
    client, processes = two_workers
    scattered = client.scatter([ROWS[:50], ROWS[50:100]])
    parts = [da.from_delayed(part, (50, 3), dtype=float) for part in scattered]
    source = DaskSource(da.concatenate(parts))
    for process in processes:
        process.kill()
        process.wait()
    with worker(client.scheduler.address):
        client.wait_for_workers(1, timeout=60)
        with pytest.raises(ClusterError, match="persist the array"):
            bits(source, client)
