"""Supervisor: the job service, as people ask it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from dask_em.errors import ClusterError, DaskEmError, InputError, JobStateError
from dask_em.remote.secrets import without_secrets
from dask_em.service.conductor import Conductor
from dask_em.service.config import Settings
from dask_em.service.counters import Counters
from dask_em.service.desk import Desk
from dask_em.service.entry import Entry
from dask_em.service.inspection import Inspection
from dask_em.service.job import Job, State
from dask_em.service.keeper import Keeper
from dask_em.service.launcher import Launcher
from dask_em.service.machine import (
    CancelAsked,
    DeleteAsked,
    Event,
    ResumeAsked,
)
from dask_em.service.spec import Fit, Predict, Sweep, parse, text_of, token
from dask_em.service.store import JobStore, StoredJob
from dask_em.service.table import Table
from dask_em.service.view import JobView, Mark, PassView

__all__ = ["Supervisor"]

logger = logging.getLogger("dask_em.service")

#: seconds between two looks after drivers, and after the store
LISTEN_SECONDS, TEND_SECONDS = 0.5, 2.0


class Supervisor:
    """The job service. Lives on the scheduler's event loop, where nothing may block.

    Parameters
    ----------
    settings : Settings
    launcher : Launcher
    rehearse : callable
        ``rehearse(spec)`` opens what a specification names, reads no rows, and raises what a
        driver would raise. Called in a thread.
    """

    def __init__(
        self,
        settings: Settings,
        launcher: Launcher,
        rehearse: Callable[[Fit | Sweep | Predict], None],
    ) -> None:
        self.settings = settings
        self.faults: list[str] = []  # of the store, in words
        self._inspection = Inspection(settings, rehearse)
        self._table, self._keeper = Table(), Keeper(settings)
        self._conductor = Conductor(settings, self._table, self._keeper, launcher)
        self.desk = Desk(self._conductor)

    @property
    def counters(self) -> Counters:
        """How often something happened since the scheduler started."""
        return self._conductor.counters

    @property
    def store(self) -> JobStore:
        """Where jobs are kept."""
        return self._keeper.store

    async def start(self) -> None:
        """Take over the store, and go on with what is in it.

        Raises
        ------
        ClusterError
            If another service of this machine works on the store.
        OSError
            If the store cannot be read.
        """
        stored, self.faults = await self._keeper.open()
        for one in sorted(stored, key=lambda one: one.job.order):
            self._take(one)
        for fault in self.faults:
            logger.warning(fault)
        self._conductor.closed = None
        for entry in self._table:
            if entry.job.state is State.running:
                entry.say("the scheduler started again", "warning", "resumed")
                await self._conductor.queue_again(entry)
        self._conductor.beside(self._keeper.beside(_warm_up))
        for step in (self._conductor.take_turns, self._listen, self._tend, self._prune):
            self._conductor.for_ever(step)

    def not_yet(self, why: str) -> None:
        """It cannot start; whoever asks is told why."""
        self._conductor.closed = f"it cannot start ({why})"

    async def close(self) -> None:
        """Leave all to the next service."""
        ours = self._conductor.closed is None  # else another service may have it by now
        self._inspection.close()
        await self._conductor.end("it is closing")
        if ours:
            await self._keeper.write_lines(self._table)
        await self._keeper.close()

    def jobs(
        self, *, state: str | None = None, owner: str | None = None, tag: str | None = None
    ) -> list[JobView]:
        """Jobs, the one that was submitted last first.

        Parameters
        ----------
        state, owner : str, optional
            Of those that are wanted.
        tag : str, optional
            A tag that they have, or ``name=value``.

        Raises
        ------
        ClusterError
            If the service has not read its store yet, or another one has it now.
        """
        self._conductor.check_open()  # or there would seem to be none
        return self._table.views(state, owner, tag)

    def job(self, id: str) -> JobView:
        """A job.

        Raises
        ------
        UnknownJobError
            If there is none of that name.
        ClusterError
            If the service has not read its store yet.
        """
        self._entry(id)
        return self._table.view(id)

    def trace(self, id: str, after: int = 0) -> list[PassView]:
        """The passes of a job after the first ones."""
        return [one for one in self._entry(id).trace if one.number > after]

    def marks(self, id: str) -> list[Mark]:
        """What befell a job."""
        return list(self._entry(id).marks)

    def spec(self, id: str) -> dict[str, Any]:
        """The specification of a job, without what may be secret."""
        spec = self._entry(id).spec
        told = spec.model_dump(mode="json", exclude={"data": {"storage_options"}})
        shown: dict[str, Any] = _without_secrets(told)
        return shown

    async def logs(self, id: str, last: int = 100) -> list[dict[str, Any]]:
        """The last lines of the log of a job."""
        return list(self._entry(id).lines)[-last:] if last > 0 else []

    async def submit(self, spec: str | bytes, *, idempotency_key: str | None = None) -> JobView:
        """Take on a job.

        Parameters
        ----------
        spec : str or bytes
            JSON.
        idempotency_key : str, optional
            A second submission under the same key is the first one.

        Raises
        ------
        InputError, SourceError, ArchiveError, AccessError
            If the specification, or what it names, cannot be used.
        JobStateError
            If another specification was submitted under the key.
        ClusterError
            If the service cannot keep it.
        """
        self._conductor.check_open()
        try:
            text = text_of(spec)
            parsed = parse(text)
            if self._known(idempotency_key, parsed) is None:
                await self._inspection.check(parsed)
            # another one may come while this one is looked at
            while (known := self._known(idempotency_key, parsed)) is not None:
                async with known.lock:  # until it is kept
                    if self._table.holds(known):
                        return self.job(known.id)
        except DaskEmError:
            self.counters.refusals += 1
            raise
        return await self._add(parsed, text, idempotency_key)

    async def cancel(self, id: str) -> JobView:
        """End a job.

        Raises
        ------
        JobStateError
            If it has ended already.
        """
        return await self._asked(id, CancelAsked(), "cancelled")

    async def resume(self, id: str) -> JobView:
        """Let a job that failed or was cancelled go on from its checkpoint.

        Raises
        ------
        JobStateError
            If it did neither.
        """
        return await self._asked(id, ResumeAsked(), "resumed")

    async def delete(self, id: str) -> None:
        """Remove all that is kept of a job.

        Raises
        ------
        JobStateError
            If it has not ended.
        """
        await self._asked(id, DeleteAsked(), "deleted")

    async def result(self, id: str) -> bytes:
        """The model that a job made, as a zip of its Zarr store.

        Raises
        ------
        JobStateError
            If there is none, or not yet.
        """
        entry = self._entry(id)
        if entry.job.state is not State.done:
            why = f": {entry.job.error}" if entry.job.error else ""
            raise JobStateError(
                f"job {id} is {entry.job.state}{why}; a result is there when it is done"
            )
        if isinstance(entry.spec, Predict):
            raise JobStateError(
                f"job {id} makes no model; its answers are in {entry.view().output}"
            )
        return await self._keeper.model(id)

    async def changed(self, id: str | None, version: int, timeout: float) -> int:
        """Return when a job has changed since a version, or after some seconds.

        Parameters
        ----------
        id : str or None
            None for any job.
        version : int
            That was seen last.
        timeout : float
            Seconds.

        Returns
        -------
        int
            The version now.
        """
        if id is not None:
            self._entry(id)
        return await self._table.changed(id, version, timeout)

    def _entry(self, id: str) -> Entry:
        self._conductor.check_open()  # or it would seem to be unknown
        return self._table.entry(id)

    def _take(self, stored: StoredJob) -> None:
        try:
            self._table.hold(Entry.found(stored))
        except InputError as error:
            self.faults.append(f"job {stored.job.id} in {self.store} cannot be used: {error}")

    def _known(self, key: str | None, spec: Fit | Sweep | Predict) -> Entry | None:
        entry = self._table.under(key)
        if entry is not None and entry.token != token(spec):
            raise JobStateError(
                f"job {entry.id} was submitted under the key {key!r} with another specification; "
                "give another key"
            )
        return entry

    async def _add(self, spec: Fit | Sweep | Predict, text: str, key: str | None) -> JobView:
        self._conductor.check_open()  # it may have been closed while rows were looked at
        job = Job(
            self._table.new_id(),
            self._table.next_order(),
            priority=spec.priority,
            owner=spec.owner,
            submitted=time.time(),
        )
        entry = Entry(job, spec, text, key)
        async with entry.lock:
            self._table.hold(entry)  # so that nobody submits it twice meanwhile
            try:
                await self._keeper.keep(self.store.add, job, text, key)
            except ClusterError:
                self._table.drop(entry)
                self._conductor.beside(self._keeper.take_back(job.id))
                raise
        self.counters.submissions += 1
        entry.say(f"submitted by {job.owner}" if job.owner else "submitted")
        self._conductor.settle(entry)
        return self.job(entry.id)

    async def _asked(self, id: str, event: Event, done: str) -> JobView:
        entry = self._entry(id)
        change = await self._conductor.happen(entry, event)
        if change.refused:
            raise JobStateError(change.refused)
        entry.say(done)
        self._conductor.settle(entry)
        return entry.view()

    async def _listen(self) -> None:
        await asyncio.sleep(min(LISTEN_SECONDS, self.settings.heartbeat))
        await self._conductor.listen()

    async def _tend(self) -> None:
        """Look after files that people read, and after the store."""
        await asyncio.sleep(TEND_SECONDS)
        await self._keeper.write_lines(self._table)
        host = await self._keeper.successor()
        if host is not None:  # all jobs are its own now
            why = f"another one, on {host}, has taken over {self.store}"
            logger.error("the job service stops: %s", why)
            await self._conductor.end(why)

    async def _prune(self) -> None:
        """Forget old jobs, each of which may wait for outputs that do not answer."""
        await asyncio.sleep(TEND_SECONDS)
        await self._conductor.prune()


def _warm_up() -> None:
    """Import what the first submission would wait for."""
    for name in ("estimators.persistence", "estimators.mapping", "sources.zarr"):
        import_module(f"dask_em.{name}")


def _without_secrets(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: _without_secrets(value) for name, value in told.items()}
    if isinstance(told, list):
        return [_without_secrets(value) for value in told]
    return without_secrets(told) if isinstance(told, str) else told
