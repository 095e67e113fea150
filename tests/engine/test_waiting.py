"""Who waits for a cluster is asked all the while, and may end the work."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from distributed import Client
from distributed.comm.core import CommClosedError

from dask_em.engine.fit import fit
from dask_em.engine.monitor import Monitor
from dask_em.engine.runner import ClusterRunner
from dask_em.engine.waiting import ASKED, LOOKED, Waiting
from dask_em.models.ppca import PPCA
from tests.engine.sources import MadeSource, clusters
from tests.faults.test_cancel import BLOCKS, Share, reads, until_idle


class Stopped(Exception):  # noqa: N818
    """Somebody wants no more."""


class Stopping(Monitor):
    """Ends the work as soon as there is some."""

    def __init__(self, folder: Path, error: BaseException) -> None:
        self.folder, self.error = folder, error

    def waiting(self) -> None:
        if any(self.folder.iterdir()):
            raise self.error


@pytest.mark.parametrize("kind", [Stopped, KeyboardInterrupt, CommClosedError])
def test_what_is_raised_ends_the_work(client: Client, tmp_path: Path, kind: Any) -> None:
    """Also what would mean that the pass was lost, if the cluster had raised it."""
    error = kind("enough")
    with pytest.raises(kind) as told:
        ClusterRunner(client).reduce(
            "em-expect", Share(tmp_path), [0, 1], None, Stopping(tmp_path, error)
        )
    assert told.value is error
    until_idle(client)
    assert reads(tmp_path) < BLOCKS  # of 2 * BLOCKS


class Impatient(Monitor):
    """Ends the work at once."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
        self.begun.append(kind)

    def waiting(self) -> None:
        raise Stopped


def test_a_look_at_a_few_chunks_can_be_ended_too(client: Client) -> None:
    monitor = Impatient()
    with pytest.raises(Stopped):
        fit(PPCA(1), MadeSource(clusters(640), 10, seconds=2.0), client=client, monitor=monitor)
    assert not monitor.begun
    until_idle(client)


class Counting(Monitor):
    """Says when it was asked three times, and raises if it is asked for ever."""

    def __init__(self) -> None:
        self.asked, self.thrice = 0, Event()

    def waiting(self) -> None:
        self.asked += 1
        if self.asked == 3:
            self.thrice.set()
        if self.asked == 100:
            raise Stopped


class Slow:
    """A future that is done when the monitor was asked three times."""

    def __init__(self, monitor: Counting) -> None:
        self._there = monitor.thrice

    def done(self) -> bool:
        return self._there.is_set()

    def exception(self, timeout: float) -> None:
        assert timeout <= 0.5
        if not self._there.wait(timeout):
            raise TimeoutError

    def end(self) -> None:
        self._there.set()

    def result(self) -> str:
        return "found" if self._there.wait(60) else "nobody was asked"


def test_the_monitor_is_asked_while_a_block_is_made_and_while_sums_travel(client: Client) -> None:
    monitor = Counting()
    waiting = Waiting(client, 60, monitor)
    waiting.until_done(Slow(monitor))  # type: ignore[arg-type]
    assert monitor.asked == 3
    monitor = Counting()
    assert Waiting(client, 60, monitor).result(Slow(monitor)) == "found"  # type: ignore[arg-type]
    assert ASKED <= 0.5


def test_asking_sends_the_scheduler_nothing(client: Client, monkeypatch: Any) -> None:
    """But now and then the question for workers."""
    sent: list[int] = []
    monkeypatch.setattr(client, "sync", lambda *_, **__: sent.append(1))
    now = count(0, LOOKED / 10)
    monkeypatch.setattr("dask_em.engine.waiting.time.monotonic", lambda: next(now))
    monkeypatch.setattr("dask_em.engine.waiting.ASKED", 0.001)
    never = Slow(Counting())
    with pytest.raises(Stopped):
        Waiting(client, 60, Counting()).result(never)  # type: ignore[arg-type]
    never.end()
    assert 5 < len(sent) < 15
