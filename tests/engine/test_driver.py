"""Fits that are driven by a task of the cluster that works on them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import pytest
from distributed import Client, get_client, get_worker, worker_client

from dask_em import Stopping
from dask_em.engine.fit import fit
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.runner import ClusterRunner
from tests.engine.sources import MadeSource
from tests.engine.traces import timeless
from tests.faults.test_bits import MIXTURE, ROWS
from tests.faults.test_cancel import BLOCKS, Share, reads, until_idle

CLIENTS = {"get_client": lambda: nullcontext(get_client()), "worker_client": worker_client}


def driven(how: str, **options: Any) -> Any:
    """What a task does: all that a fit gives but the time that it took."""
    with CLIENTS[how]() as client:
        assert isinstance(client, Client)
        return found(client, **options)


def found(client: Client, seed: int = 0, **options: Any) -> Any:
    rng, stopping, source = np.random.default_rng(seed), Stopping(0, 4), MadeSource(ROWS, 50)
    fitted = fit(MIXTURE, source, client=client, rng=rng, stopping=stopping, **options)
    tree, arrays = fitted.parameters.flatten()
    bits = {name: one.tobytes() for name, one in arrays.items()}
    cold = [replace(timeless(one), nbytes=0, cached_bytes=0) for one in fitted.history]
    return fitted.objective, fitted.outcome, tree, bits, cold


@pytest.mark.parametrize("algorithm", ["em", "accelerated"])
@pytest.mark.parametrize("how", CLIENTS)
def test_the_same_bits_as_from_a_client(client: Client, how: str, algorithm: str) -> None:
    expected = found(client, algorithm=algorithm)
    job = client.submit(driven, how, algorithm=algorithm, pure=False)
    assert job.result(timeout=120) == expected


def test_with_a_cache_and_a_checkpoint(client: Client, tmp_path: Path) -> None:
    options: dict[str, Any] = {"algorithm": "em", "cache": 1 << 20}
    expected = found(client, **options)
    for _ in range(2):  # the second one has nothing left to do
        job = client.submit(driven, "get_client", checkpoint=tmp_path / "ck", **options, pure=False)
        assert job.result(timeout=120) == expected


def test_a_cache_is_used_by_a_driver(client: Client) -> None:
    def read_bytes() -> list[int]:
        source = MadeSource(ROWS, 50)
        options: dict[str, Any] = {"stopping": Stopping(0, 4), "algorithm": "em", "cache": 1 << 24}
        return [one.nbytes for one in fit(MIXTURE, source, client=get_client(), **options).history]

    first, *later = client.submit(read_bytes, pure=False).result(timeout=120)
    assert sum(later) < first


def test_more_drivers_than_threads(client: Client) -> None:
    """Each gives its thread to the tasks that it waits for."""
    expected = [found(client, seed, algorithm="em") for seed in range(5)]
    jobs = [
        client.submit(driven, "get_client", seed=seed, algorithm="em", pure=False)
        for seed in range(5)
    ]
    assert client.gather(jobs) == expected


@dataclass(frozen=True)
class Seen:
    """Priorities of tasks, as workers sort them: least first."""

    priorities: frozenset[float]

    def __add__(self, other: Seen) -> Seen:
        return Seen(self.priorities | other.priorities)


def own(item: int, shared: Any, stopped: Any) -> Seen:
    worker = get_worker()
    return Seen(frozenset([worker.state.tasks[worker.get_current_task()].priority[0]]))


@pytest.mark.parametrize("priority", [0, 7, -3])
def test_the_tasks_of_a_pass_are_as_urgent_as_their_driver(client: Client, priority: int) -> None:
    """Otherwise they would wait behind whatever others find urgent, pass after pass."""

    def driver() -> Seen:
        return ClusterRunner(get_client()).reduce("em-expect", own, range(4), None, Monitor())  # type: ignore[no-any-return]

    seen = client.submit(driver, priority=priority, pure=False).result(timeout=120)
    assert seen.priorities == {-priority}
    here = ClusterRunner(client).reduce("em-expect", own, range(4), None, Monitor())
    assert here.priorities == {0}


class Leaving(Monitor):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def waiting(self) -> None:
        if any(self.folder.iterdir()):  # one worker may have been given both tasks
            raise RuntimeError("somebody cancelled the job")


def test_a_driver_that_gives_up_stops_its_tasks(client: Client, tmp_path: Path) -> None:
    def gives_up() -> None:
        runner = ClusterRunner(get_client())
        runner.reduce("em-expect", Share(tmp_path), [0, 1], None, Leaving(tmp_path))

    with pytest.raises(RuntimeError, match="somebody cancelled the job"):
        client.submit(gives_up, pure=False).result(timeout=120)
    until_idle(client)
    assert reads(tmp_path) < BLOCKS  # of 2 * BLOCKS


class Profiled(Monitor):
    """Whether Dask's profiler looks at the thread of the driver, while it waits and after."""

    def __init__(self) -> None:
        self.waited: list[bool] = []
        self.ended: list[bool] = []

    @staticmethod
    def _now() -> bool:
        return get_ident() in get_worker().active_threads

    def waiting(self) -> None:
        self.waited.append(self._now())

    def end(self, record: PassRecord) -> None:
        self.ended.append(self._now())


def test_a_driver_that_waits_is_not_profiled(client: Client) -> None:
    def seen() -> tuple[list[bool], list[bool]]:
        monitor = Profiled()
        source = MadeSource(ROWS, 50, seconds=0.01)
        options: dict[str, Any] = {"stopping": Stopping(0, 2), "algorithm": "em"}
        with pytest.MonkeyPatch.context() as often:
            often.setattr("dask_em.engine.waiting.ASKED", 0.01)
            fit(MIXTURE, source, client=get_client(), monitor=monitor, **options)
        return monitor.waited, monitor.ended

    waited, ended = client.submit(seen, pure=False).result(timeout=120)
    assert waited
    assert not any(waited)
    assert ended
    assert all(ended)
