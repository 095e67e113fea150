"""A service that is killed after any change of its store, or cannot make it at once."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import RLock
from typing import Any

import pytest

from dask_em.remote.files import Files
from dask_em.service.job import Job
from dask_em.service.store import JobStore
from tests.service.office import Drivers, one_pass, running, service, spec, until


@dataclass(frozen=True)
class Told:
    """What somebody was told of a job, and may rely on."""

    state: str = "queued"
    passes: int = 0
    epoch: int = 0


@dataclass
class Moments:
    """Copies of a store after each change and each promise, and what was told until then."""

    store: Path
    folder: Path
    told: dict[str, Told] = field(default_factory=dict)
    found: list[tuple[Path, dict[str, Told]]] = field(default_factory=list)
    lock: Any = field(default_factory=RLock)  # of the store

    def tell(self, job: str, **what: Any) -> None:
        """Somebody is told something."""
        self.told[job] = replace(self.told.get(job, Told()), **what)
        self.keep()

    def keep(self) -> None:
        with self.lock:
            copied = shutil.copytree(self.store, self.folder / str(len(self.found)))
            (copied / "service.json").unlink(missing_ok=True)  # of a process that is dead
            self.found.append((copied, dict(self.told)))


class Launches(Drivers):
    """Each driver is a promise: the next service counts from there."""

    def __init__(self, moments: Moments) -> None:
        super().__init__()
        self.moments = moments

    async def run(self, id: str, epoch: int) -> None:
        self.moments.tell(id, epoch=epoch)
        await super().run(id, epoch)


@pytest.fixture
def moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Moments:
    made = Moments(tmp_path / "store", tmp_path)
    for name in ("write", "remove"):
        change = getattr(Files, name)

        def changed(self: Files, *args: Any, _change: Any = change) -> None:
            with made.lock:
                _change(self, *args)
                if str(made.store) in self.url:
                    made.keep()

        monkeypatch.setattr(Files, name, changed)
    return made


async def a_busy_day(moments: Moments) -> None:
    """Jobs that end, that lose drivers, that are cancelled, resumed and deleted."""
    drivers, tell = Launches(moments), moments.tell
    async with service(moments.store, drivers, max_running=1) as em:
        first = (await em.submit(spec())).id
        tell(first)
        second = (await em.submit(spec(owner="b"), idempotency_key="b")).id
        tell(second)
        for epoch, passes in ((1, (1, 2)), (2, (3,))):
            await until(lambda epoch=epoch: (first, epoch) in drivers.launched)
            await em.desk.begin(first, epoch, 10 * epoch, "tcp://w")
            for number in passes:
                assert "refused" not in await em.desk.commit(
                    first, epoch, 10 * epoch, one_pass(number), []
                )
                tell(first, passes=number)
            if epoch == 1:
                drivers.lose(first, 1)
        assert "refused" not in await em.desk.finish(first, 2, 20, "converged")
        tell(first, state="done")
        await until(lambda: (second, 1) in drivers.launched)
        await em.cancel(second)
        tell(second, state="cancelled")
        tell(second, state="asked for")  # while it is, it may be cancelled or queued
        await em.resume(second)
        tell(second, state="queued")
        await until(lambda: (second, 2) in drivers.launched)
        await em.cancel(second)
        tell(second, state="cancelled")
        del moments.told[first]
        await em.delete(first)


async def go_on(store: Path, told: dict[str, Told]) -> None:
    """What anybody was told holds for the next service, and it brings all to an end."""
    drivers = Drivers()
    async with service(store, drivers, max_running=9) as em:
        assert all("submit its spec.json again" in fault for fault in em.faults)
        found = {view.id: view for view in em.jobs()}
        assert told.keys() <= found.keys()
        for name, known in told.items():
            if known.state in ("done", "cancelled"):
                assert found[name].state == known.state
            assert len(em.trace(name)) <= known.passes + 1
        going = [view.id for view in found.values() if view.state in ("queued", "running")]
        for name in going:
            epoch = await running(em, name)
            assert epoch > told.get(name, Told()).epoch
            order = await em.desk.begin(name, epoch, 99, "tcp://w")
            passes = told.get(name, Told()).passes
            assert em._table.entry(name).job.iteration >= passes
            assert (order["checkpoint"] is None) == (em._table.entry(name).job.iteration == 0)
            for number in range(order["passes"] + 1, passes + 3):
                assert "refused" not in await em.desk.commit(name, epoch, 99, one_pass(number), [])
            assert "refused" not in await em.desk.finish(name, epoch, 99, "converged")
            numbers = [one.number for one in em.trace(name)]
            assert numbers == list(range(1, len(numbers) + 1))
        assert sorted({name for name, _ in drivers.launched}) == sorted(going)
        assert len(drivers.launched) == len(going)


def test_a_service_is_killed_after_any_change_of_its_store(moments: Moments) -> None:
    asyncio.run(a_busy_day(moments))
    found = list(moments.found)
    assert len(found) > 12
    for store, told in found:
        asyncio.run(go_on(store, told))


def test_a_pause_that_ends_while_others_are_started_is_not_slept_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of one job cannot be written at once, that of the next takes its time."""
    store = JobStore(str(tmp_path))
    for number, name in enumerate(("hasty", "slow")):
        store.add(Job(name, number), spec(), None)
    save, failed = JobStore.save, list[str]()

    def hindered(self: JobStore, job: Job, key: str | None) -> None:
        if job.id == "slow":
            time.sleep(0.3)
        elif not failed:
            failed.append(job.id)
            raise OSError("no space left")
        save(self, job, key)

    monkeypatch.setattr(JobStore, "save", hindered)
    monkeypatch.setattr("dask_em.service.conductor.LONGEST_PAUSE", 0.05)

    async def start() -> None:
        drivers = Drivers()
        async with service(tmp_path, drivers) as em:
            await until(lambda: len(drivers.launched) == 2)
            assert em.job("hasty").error is None
            assert any("no space left" in line["text"] for line in await em.logs("hasty"))

    asyncio.run(start())
