"""Desk: where drivers are told what to do, and tell what they did."""

from __future__ import annotations

from typing import Any

from dask_em.service.conductor import Conductor
from dask_em.service.machine import Committed, Finished, Heard
from dask_em.service.view import PassView

__all__ = ["Desk"]


class Desk:
    """Answers drivers. A driver whose time is over is ``refused``, and told why.

    Each call names the job, and the epoch and the run of who calls.

    Parameters
    ----------
    conductor : Conductor
    """

    def __init__(self, conductor: Conductor) -> None:
        self._conductor, self._table = conductor, conductor.table

    async def begin(self, id: str, epoch: int, run: int, worker: str) -> dict[str, Any]:
        """It is there, on a worker, and asks what to do."""
        entry = self._table.entry(id)
        before = entry.job.run
        change = await self._conductor.happen(entry, Heard(epoch, run))
        if change.refused:
            return {"refused": change.refused}
        if before is not None and run > before:
            # the scheduler ran the task again, and asked nobody
            self._conductor.count_loss(entry, f"its worker {entry.worker or ''} was lost")
        entry.worker = worker
        entry.work("starting", 0, 0)
        kept = change.job.checkpoint
        since = f", goes on after pass {change.job.iteration}" if kept else ""
        entry.say(f"driver {epoch} (run {run}) works on {worker}{since}")
        self._table.touch(entry)
        store = self._conductor.keeper.store
        return {
            "spec": entry.text,
            "store": store.url,
            "options": dict(store.options or {}),
            "checkpoint": None if kept is None else f"{kept.epoch}.{kept.run}",
            "passes": entry.passes,
            "heartbeat": self._conductor.settings.heartbeat,
        }

    async def heard(
        self, id: str, epoch: int, run: int, doing: str, tasks_done: int, tasks: int
    ) -> dict[str, Any]:
        """It works."""
        entry = self._table.entry(id)
        change = await self._conductor.happen(entry, Heard(epoch, run))
        if change.refused:
            return {"refused": change.refused}
        if entry.work(doing, tasks_done, tasks):
            self._table.touch(entry)
        return {}

    async def commit(
        self, id: str, epoch: int, run: int, told: dict[str, Any], weights: list[float]
    ) -> dict[str, Any]:
        """A pass is over, and what it brought is in its checkpoint.

        The answer says whether that checkpoint ``counts``. It does not where the pass counted
        already, in the checkpoint of an earlier driver: only its line was lost.
        """
        entry = self._table.entry(id)
        one = PassView(**{**told, "notes": tuple(told["notes"])})
        again = one.number <= entry.job.iteration
        event = Heard(epoch, run) if again else Committed(epoch, run, one.number)
        change = await self._conductor.happen(entry, event)
        if change.refused:
            return {"refused": change.refused}
        if one.number > entry.passes:
            counters = self._conductor.counters
            counters.passes += 1
            counters.rows += one.rows
            counters.nbytes += one.nbytes
        entry.passed(one)
        entry.weights = tuple(weights)
        entry.work("between passes", 0, 0)
        self._table.touch(entry)
        kept = change.job.checkpoint
        return {"counts": kept is not None and (kept.epoch, kept.run) == (epoch, run)}

    async def finish(self, id: str, epoch: int, run: int, text: str) -> dict[str, Any]:
        """What it made is at its place."""
        entry = self._table.entry(id)
        change = await self._conductor.happen(entry, Finished(epoch, run))
        if change.refused:
            return {"refused": change.refused}
        entry.say(text)
        self._conductor.settle(entry)
        return {}

    async def fail(
        self, id: str, epoch: int, run: int, error: str, trace: str, lost: bool
    ) -> dict[str, Any]:
        """It ran into an error; `lost` if another one may do better."""
        entry = self._table.entry(id)
        change = await self._conductor.happen(entry, Heard(epoch, run))
        if change.refused:
            return {"refused": change.refused}
        # where that cannot be kept, the driver is told so, and tells it again
        await self._conductor.fall(entry, epoch, error, lost=lost, trace=trace)
        return {}
