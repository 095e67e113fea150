"""Tasks of a pass that is given up end soon, not with their share of the data."""

from __future__ import annotations

import os
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import pytest

from dask_em import ChunkError
from dask_em.engine.fit import fit
from dask_em.engine.monitor import Monitor
from dask_em.engine.runner import ClusterRunner
from tests.engine.sources import MadePartition, MadeSource, Script
from tests.faults.test_bits import MIXTURE, ROWS

BLOCKS = 2000  # of a task; each takes 10 ms


def reads(folder: Path) -> int:
    """Blocks that the tasks have read."""
    return sum(path.stat().st_size for path in folder.iterdir())


@dataclass(frozen=True)
class Share:
    """A task that is long and asks before each block; it says what it read, in its own file."""

    folder: Path
    fails: int | None = None  # the task that raises when all others have begun

    def __call__(self, item, shared, stopped):
        path = self.folder / str(item)
        for _ in range(BLOCKS):
            if stopped():
                raise InterruptedError("the pass was stopped")
            with path.open("ab") as file:
                file.write(b".")
            time.sleep(0.01)
            if item == self.fails and len(list(self.folder.iterdir())) == 2:
                raise ChunkError("scripted")


def until_idle(client):
    def executing(dask_worker):
        return len(dask_worker.state.executing)

    while any(client.run(executing).values()):
        time.sleep(0.05)


@pytest.fixture
def interrupted(tmp_path):
    """Ctrl-C, as soon as both tasks have read something."""
    over = Event()

    def interrupt():
        while not over.wait(0.05):
            if len(list(tmp_path.iterdir())) == 2:
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = Thread(target=interrupt)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.usefixtures("interrupted")
def test_ctrl_c_stops_the_tasks(client, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        ClusterRunner(client).reduce("em-expect", Share(tmp_path), [0, 1], None, Monitor())
    until_idle(client)
    assert reads(tmp_path) < BLOCKS  # of 2 * BLOCKS


def test_the_error_of_one_task_stops_the_others(client, tmp_path):
    with pytest.raises(ChunkError, match="scripted"):
        ClusterRunner(client).reduce("em-expect", Share(tmp_path, fails=1), [0, 1], None, Monitor())
    until_idle(client)
    assert reads(tmp_path) < BLOCKS


@dataclass(frozen=True)
class CountedPartition(MadePartition):
    folder: Path

    def open(self):
        read, path = super().open(), self.folder / str(uuid.uuid4())

        def counted(index):
            with path.open("ab") as file:
                file.write(b".")
            return read(index)

        return counted


class CountedSource(MadeSource):
    """Slow, bad at the first chunk of its second half, and it counts what is read."""

    def __init__(self, folder):
        super().__init__(ROWS, 10, seconds=0.02, script=Script(320, "fail"))
        self.folder = folder

    def partition(self, chunks):
        return CountedPartition(
            chunks, self.rows, self.size, self.seconds, self.script, self.folder
        )


def test_a_bad_chunk_stops_the_tasks_of_a_fit(client, tmp_path, monkeypatch):
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: 2)
    source = CountedSource(tmp_path)
    with pytest.raises(ChunkError, match="chunk 320"):
        fit(MIXTURE, source, client=client)
    until_idle(client)
    assert reads(tmp_path) < source.schema.n_chunks // 4


@pytest.mark.parametrize("kind", [InterruptedError, TimeoutError])
def test_an_error_of_the_work_itself_is_not_a_task_taken_back(client, kind):
    def fails(item, shared, stopped):
        raise kind("of the system")

    with pytest.raises(kind, match="of the system"):
        ClusterRunner(client).reduce("em-expect", fails, [0], None, Monitor())


def test_a_task_that_was_cancelled_and_is_wanted_again_is_run_again(client, tmp_path):
    """The scheduler may take a task back and give it to the same worker before it has ended."""

    def takes_itself_back(item, shared, stopped):
        from distributed import get_worker
        from distributed.worker_state_machine import FreeKeysEvent

        again = tmp_path / "again"
        if again.exists():
            return item
        again.touch()
        worker = get_worker()
        key = worker.get_current_task()
        task = worker.state.tasks[key]
        free = FreeKeysEvent(keys=[key], stimulus_id="test")
        worker.loop.add_callback(worker.handle_stimulus, free)
        while not stopped():
            time.sleep(0.01)

        def wanted():
            worker.state._transitions({task: "waiting"}, stimulus_id="test")

        worker.loop.add_callback(wanted)
        while task.state == "cancelled":
            time.sleep(0.01)
        raise InterruptedError("the pass was stopped")

    found = ClusterRunner(client).reduce("em-expect", takes_itself_back, [7], None, Monitor())
    assert found == 7
