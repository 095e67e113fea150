"""Supervisor: holds the jobs, says what becomes of them, and keeps that before it is done."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import secrets
import socket
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psutil

from dask_em.core.names import nearest
from dask_em.errors import (
    ClusterError,
    DaskEmError,
    InputError,
    JobStateError,
    SourceError,
    UnknownJobError,
)
from dask_em.remote.secrets import without_secrets
from dask_em.service.commands import Command, Forget, Launch, Stop
from dask_em.service.config import Settings
from dask_em.service.entry import Entry
from dask_em.service.job import Job, State
from dask_em.service.launcher import DriverEndedError, Launcher
from dask_em.service.machine import (
    CancelAsked,
    Change,
    Committed,
    DeleteAsked,
    DriverFailed,
    DriverLost,
    Event,
    Finished,
    Heard,
    ResumeAsked,
    SchedulerStarted,
    SlotFree,
)
from dask_em.service.queue import due, wakes_at
from dask_em.service.roots import check_places
from dask_em.service.spec import Fit, Predict, Sweep, parse, token
from dask_em.service.store import JobStore
from dask_em.service.view import JobView, Mark, PassView

__all__ = ["Supervisor"]

T = TypeVar("T")

logger = logging.getLogger("dask_em.service")

#: seconds that rows are waited for when a job is submitted; then its driver will see
CHECK_SECONDS = 10.0
#: seconds between two looks after everything
TEND_SECONDS = 0.5
#: and between two writings of what people read
WRITE_SECONDS = 2.0
#: a model of more bytes is fetched from the store, not from the service
LARGEST_MODEL = 512 * 2**20


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
        self.settings, self.launcher = settings, launcher
        self._rehearse = rehearse
        self.store = JobStore(settings.store, settings.store_options)
        self.counters: Counter[str] = Counter(
            driver_restarts=0, passes=0, rows=0, nbytes=0, submissions=0, refusals=0
        )
        self.faults: list[str] = []  # of the store, in words
        self._me = secrets.token_hex(8)
        self._entries: dict[str, Entry] = {}
        self._by_key: dict[str, Entry] = {}
        self._version = 0
        self._wake, self._changed = asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed: str | None = "it is starting"
        # one for each of a few slow stores; the order for one job is kept by its lock
        self._threads = ThreadPoolExecutor(4, "dask-em-store")

    # -- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take over the store, and go on with what is in it.

        Raises
        ------
        ClusterError
            If another service of this machine works on the store.
        OSError
            If the store cannot be read.
        """
        await self._in_thread(self._take_over)
        stored, faults = await self._in_thread(self.store.load)
        for one in sorted(stored, key=lambda one: one.job.order):
            try:
                entry = Entry.found(one)
            except (DaskEmError, TypeError, KeyError) as error:
                faults.append(f"job {one.job.id} in {self.store} cannot be used: {error}")
                continue
            self._hold(entry)
        for fault in faults:
            logger.warning(fault)
        self.faults = faults
        self._closed = None
        for entry in list(self._entries.values()):
            if entry.job.state is State.running:
                entry.say("the scheduler started again", "warning", "resumed")
            await self._insist(entry, SchedulerStarted())
        self._do(self._pump())
        self._do(self._tend())

    def not_yet(self, why: str) -> None:
        """It cannot start; say why to whoever asks."""
        self._closed = f"it cannot start ({why})"

    async def close(self) -> None:
        """Leave all to the next service."""
        self._closed = self._closed or "it is closing"
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._write_all()
        await self._in_thread(self.store.unclaim, self._me)
        self._threads.shutdown(wait=False)

    # -- for people -----------------------------------------------------------------------------

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
        """
        positions = self._positions()
        return [
            entry.view(positions.get(entry.id))
            for entry in sorted(self._entries.values(), key=lambda one: -one.job.order)
            if (state is None or entry.job.state == state)
            and (owner is None or entry.job.owner == owner)
            and (tag is None or _has(entry, tag))
        ]

    def job(self, id: str) -> JobView:
        """A job.

        Raises
        ------
        UnknownJobError
            If there is none of that name.
        """
        entry = self._entry(id)
        position = self._positions().get(id) if entry.job.state is State.queued else None
        return entry.view(position)

    def trace(self, id: str, after: int = 0) -> list[PassView]:
        """The passes of a job after the first ones."""
        return [one for one in self._entry(id).trace if one.number > after]

    def marks(self, id: str) -> list[Mark]:
        """What befell a job."""
        return list(self._entry(id).marks)

    def spec(self, id: str) -> dict[str, Any]:
        """The specification of a job, without what may be secret."""
        told: dict[str, Any] = self._entry(id).spec.model_dump(mode="json")
        told["data"].pop("storage_options", None)
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
        self._check_open()
        try:
            parsed = parse(spec)
            known = self._known(idempotency_key, parsed)
            if known is None:
                await self._check(parsed)
                known = self._known(idempotency_key, parsed)  # while this one was looked at
        except DaskEmError:
            self.counters["refusals"] += 1
            raise
        if known is not None:
            async with known.lock:  # until it is kept
                return self.job(known.id)
        text = spec.decode() if isinstance(spec, bytes) else spec
        return await self._add(parsed, text, idempotency_key)

    async def cancel(self, id: str) -> JobView:
        """End a job."""
        return await self._asked(id, CancelAsked(), "cancelled")

    async def resume(self, id: str) -> JobView:
        """Let a job that failed or was cancelled go on from its checkpoint."""
        return await self._asked(id, ResumeAsked(), "resumed")

    async def delete(self, id: str) -> None:
        """Remove all that is kept of a job that has ended."""
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
        return await self._in_thread(self._zipped, id)

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
        deadline = time.monotonic() + timeout
        while True:
            found = self._version if id is None else self._entry(id).version
            left = deadline - time.monotonic()
            if found > version or left <= 0:
                return found
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue

    # -- for drivers ----------------------------------------------------------------------------

    async def begin(self, id: str, epoch: int, run: int, worker: str) -> dict[str, Any]:
        """A driver is there and asks what to do; ``refused`` if it has nothing to do any more."""
        entry = self._entry(id)
        change = await self._happen(entry, Heard(epoch, run))
        if change.refused:
            return {"refused": change.refused}
        entry.worker = worker
        entry.work("starting", 0, 0)
        kept = change.job.checkpoint
        since = f", goes on after pass {change.job.iteration}" if kept else ""
        entry.say(f"driver {epoch} (run {run}) works on {worker}{since}")
        self._touch(entry)
        return {
            "spec": entry.text,
            "store": self.store.url,
            "options": dict(self.store.options or {}),
            "checkpoint": None if kept is None else f"{kept.epoch}.{kept.run}",
            "passes": entry.passes,
            "heartbeat": self.settings.heartbeat,
        }

    async def heard(
        self, id: str, epoch: int, run: int, doing: str, tasks_done: int, tasks: int
    ) -> dict[str, Any]:
        """A driver works."""
        entry = self._entry(id)
        change = await self._happen(entry, Heard(epoch, run))
        if change.refused:
            return {"refused": change.refused}
        entry.work(doing, tasks_done, tasks)
        self._touch(entry)
        return {}

    async def commit(
        self,
        id: str,
        epoch: int,
        run: int,
        told: dict[str, Any],
        weights: list[float] | None = None,
    ) -> dict[str, Any]:
        """A pass is over, and what it brought is in the driver's checkpoint."""
        entry = self._entry(id)
        one = PassView(**{**told, "notes": tuple(told["notes"])})
        again = one.number <= entry.job.iteration  # its line was lost, not its checkpoint
        event = Heard(epoch, run) if again else Committed(epoch, run, one.number)
        change = await self._happen(entry, event)
        if change.refused:
            return {"refused": change.refused}
        if one.number > entry.passes:
            self.counters.update(passes=1, rows=one.rows, nbytes=one.nbytes)
        entry.passed(one)
        entry.weights = tuple(weights or ())
        entry.work("between passes", 0, 0)
        self._touch(entry)
        return {}

    async def finish(self, id: str, epoch: int, run: int, text: str) -> dict[str, Any]:
        """What a driver made is at its place."""
        entry = self._entry(id)
        change = await self._happen(entry, Finished(epoch, run))
        if change.refused:
            return {"refused": change.refused}
        entry.say(text)
        self._ended(entry)
        return {}

    async def fail(
        self, id: str, epoch: int, run: int, error: str, trace: str, lost: bool
    ) -> dict[str, Any]:
        """A driver ran into an error; `lost` if another one may do better."""
        entry = self._entry(id)
        change = await self._happen(entry, Heard(epoch, run))
        if change.refused:
            return {"refused": change.refused}
        if trace:
            entry.say(trace, "error")
        await self._fall(entry, epoch, error, lost)
        return {}

    # -- inside ---------------------------------------------------------------------------------

    def _entry(self, id: str) -> Entry:
        try:
            return self._entries[id]
        except KeyError:
            self._check_open()
            raise UnknownJobError(
                f"there is no job {id!r}; {nearest(id, sorted(self._entries))}"
            ) from None

    def _check_open(self) -> None:
        if self._closed is not None:
            raise ClusterError(
                f"the job service does not answer: {self._closed}; try again in a few seconds"
            )

    def _hold(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        if entry.key is not None:
            self._by_key[entry.key] = entry
        self._touch(entry)

    def _drop(self, entry: Entry) -> None:
        self._entries.pop(entry.id, None)
        if entry.key is not None:
            self._by_key.pop(entry.key, None)
        self._touch(entry)

    def _touch(self, entry: Entry) -> None:
        self._version += 1
        entry.version = self._version
        self._changed.set()
        self._changed = asyncio.Event()

    def _positions(self) -> dict[str, int]:
        waiting = [one.job for one in self._entries.values() if one.job.state is State.queued]
        if not waiting:
            return {}
        order = due((entry.job for entry in self._entries.values()), 1 << 30, float("inf"))
        return {job.id: number for number, job in enumerate(order, 1)}

    def _known(self, key: str | None, spec: Fit | Sweep | Predict) -> Entry | None:
        entry = None if key is None else self._by_key.get(key)
        if entry is not None and entry.token != token(spec):
            raise JobStateError(
                f"job {entry.id} was submitted under the key {key!r} with another specification; "
                "give another key"
            )
        return entry

    async def _check(self, spec: Fit | Sweep | Predict) -> None:
        check_places(spec, self.settings.roots)
        if not self.settings.check_data:
            return
        try:
            await asyncio.wait_for(self._in_thread(self._rehearse, spec), CHECK_SECONDS)
        except TimeoutError:
            logger.warning("rows were not opened within %g s, a driver will see", CHECK_SECONDS)
        except (DaskEmError, ValueError) as error:
            # a ValueError of its own is scikit-learn's about a parameter
            if isinstance(error, DaskEmError):
                raise
            raise InputError(str(error)) from error

    async def _add(self, spec: Fit | Sweep | Predict, text: str, key: str | None) -> JobView:
        order = 1 + max((one.job.order for one in self._entries.values()), default=0)
        job = Job(
            secrets.token_hex(4),
            order,
            priority=spec.priority,
            owner=spec.owner,
            submitted=time.time(),
        )
        entry = Entry(job, spec, text, key)
        async with entry.lock:
            self._hold(entry)  # so that nobody submits it twice meanwhile
            try:
                await self._kept(self.store.add, job, text, key)
            except ClusterError:
                self._drop(entry)
                raise
        self.counters["submissions"] += 1
        entry.say(f"submitted by {job.owner or 'nobody in particular'}")
        self._log(entry, "submitted")
        self._wake.set()
        return self.job(entry.id)

    async def _asked(self, id: str, event: Event, done: str) -> JobView:
        self._check_open()
        entry = self._entry(id)
        change = await self._happen(entry, event)
        if change.refused:
            raise JobStateError(change.refused)
        entry.say(done)
        self._ended(entry)
        return entry.view()

    async def _happen(self, entry: Entry, event: Event) -> Change:
        """Let something happen to a job: it is kept, then what follows is done.

        Raises
        ------
        ClusterError
            If it cannot be kept; then it has not happened.
        """
        self._check_open()
        async with entry.lock:
            change = event.happen(entry.job, time.time(), self.settings.patience)
            if change.refused:
                return change
            if change.job != entry.job:
                if Forget() not in change.commands:
                    await self._kept(self.store.save, change.job, entry.key)
                entry.job = change.job
                self._touch(entry)
            for command in change.commands:
                await self._obey(entry, command)
        return change

    async def _insist(self, entry: Entry, event: Event) -> Change:
        """As `_happen`; where it cannot be kept it is tried until it can."""
        pause = self.settings.first_pause
        while True:
            try:
                return await self._happen(entry, event)
            except ClusterError as error:
                if self._closed is not None:
                    raise
                logger.warning("job %s: %s; tried again in %g s", entry.id, error, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, self.settings.longest_pause)

    async def _obey(self, entry: Entry, command: Command) -> None:
        if isinstance(command, Launch):
            entry.rest()
            entry.doing = "waiting for a worker"
            self._do(self._drive(entry, command.epoch))
        elif isinstance(command, Stop):
            self._do(self.launcher.stop(entry.id, command.epoch))
        else:
            self._drop(entry)
            await self._kept(self.store.forget, entry.id)

    async def _drive(self, entry: Entry, epoch: int) -> None:
        """Run a driver, and see how it ended."""
        try:
            await self.launcher.run(entry.id, epoch)
            # one that has said how it ended is not that of a running job any more
            reason, lost = "its driver ended without a word", True
        except DriverEndedError as error:
            reason, lost = error.reason, error.lost
            if error.trace:
                entry.say(error.trace, "error")
        if entry.job.state is State.running and entry.job.epoch == epoch:
            await self._fall(entry, epoch, reason, lost)

    async def _fall(self, entry: Entry, epoch: int, reason: str, lost: bool) -> None:
        event = DriverLost(epoch, reason) if lost else DriverFailed(epoch, reason)
        change = await self._insist(entry, event)
        if change.refused:
            return
        pause = change.job.not_before - time.time()
        if change.job.state is State.queued:
            self.counters["driver_restarts"] += 1
            entry.restarts += 1
            later = f"; tried again in {pause:.0f} s" if pause > 0.5 else "; tried again"
            entry.say(f"{reason}{later}", "warning", "lost")
        else:
            entry.say(f"failed: {change.job.error}", "error")
        self._ended(entry)

    def _ended(self, entry: Entry) -> None:
        """Somebody stopped working on a job, or it stands elsewhere."""
        entry.rest()
        self._touch(entry)
        self._wake.set()
        self._log(entry, str(entry.job.state))
        if entry.job.state is State.done:
            self._do(self._in_thread(self.store.forget_checkpoints, entry.id))

    async def _pump(self) -> None:
        """Start what is due."""
        while True:
            self._wake.clear()
            jobs = [entry.job for entry in self._entries.values()]
            for job in due(jobs, self.settings.max_running, time.time()):
                entry = self._entries.get(job.id)
                if entry is not None:
                    await self._insist(entry, SlotFree())
            jobs = [entry.job for entry in self._entries.values()]
            wakes = wakes_at(jobs, time.time())
            try:
                pause = None if wakes is None else max(0.01, wakes - time.time())
                await asyncio.wait_for(self._wake.wait(), pause)
            except TimeoutError:
                continue

    async def _tend(self) -> None:
        """Look after drivers that are silent, files that people read, and old jobs."""
        last = 0.0
        while True:
            await asyncio.sleep(min(TEND_SECONDS, self.settings.heartbeat))
            for entry in list(self._entries.values()):
                if entry.job.state is State.running:
                    await self._listen(entry)
            if time.monotonic() - last > WRITE_SECONDS:
                last = time.monotonic()
                await self._write_all()
                await self._prune()
                await self._check_claim()

    async def _listen(self, entry: Entry) -> None:
        """Part with a driver that has not been heard of for too long."""
        epoch, silence = entry.job.epoch, self.settings.silence
        if not await self.launcher.has_begun(entry.id, epoch):
            entry.heard = time.monotonic()
        if time.monotonic() - entry.heard < silence:
            return
        again = await self.launcher.give_up(entry.id, epoch, silence)
        reason = f"its driver said nothing for {silence:g} s"
        entry.heard = time.monotonic()
        if again:
            entry.say(f"{reason}, nor did its worker, which is removed", "warning", "lost")
            return
        await self._fall(entry, epoch, reason, lost=True)
        await self.launcher.stop(entry.id, epoch)

    async def _write_all(self) -> None:
        for entry in list(self._entries.values()):
            for name in list(entry.dirty):
                entry.dirty.discard(name)
                lines = entry.written(name)
                try:
                    await self._in_thread(self.store.write_lines, entry.id, name, lines)
                except (OSError, DaskEmError) as error:
                    entry.dirty.add(name)
                    logger.warning("%s of job %s cannot be written: %s", name, entry.id, error)
                    return

    async def _prune(self) -> None:
        """Forget what ended long ago, and the oldest of too many."""
        ended = sorted(
            (one for one in self._entries.values() if one.job.state.ended),
            key=lambda one: -(one.job.ended or 0.0),
        )
        oldest = time.time() - 86400 * self.settings.keep_days
        for number, entry in enumerate(ended):
            if number >= self.settings.keep_jobs or (entry.job.ended or 0.0) < oldest:
                await self._insist(entry, DeleteAsked())
                logger.info("job %s was forgotten", entry.id)

    async def _check_claim(self) -> None:
        """Stop where another service has taken over the store: it has all jobs now."""
        try:
            who = await self._in_thread(self.store.claimed)
        except (OSError, DaskEmError):
            return  # the store will be heard of when something is to be kept
        if who is None or who.get("id") == self._me:
            return
        self._closed = f"another one, on {who.get('host')}, has taken over {self.store}"
        logger.error("the job service stops: %s", self._closed)
        for entry in self._entries.values():
            if entry.job.state is State.running:
                await self.launcher.stop(entry.id, entry.job.epoch)
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    def _take_over(self) -> None:
        before = self.store.claimed()
        if before is not None and _is_alive(before):
            raise ClusterError(
                f"the store {self.store} is served by process {before.get('pid')} of this "
                "machine; end that, or give another store"
            )
        me = psutil.Process()
        self.store.claim(
            {
                "id": self._me,
                "host": socket.gethostname(),
                "pid": me.pid,
                "created": me.create_time(),
                "started": time.time(),
            }
        )

    def _zipped(self, id: str) -> bytes:
        packed, size = io.BytesIO(), 0
        with zipfile.ZipFile(packed, "w") as archive:
            for name, data in self.store.model_files(id):
                size += len(data)
                if size > LARGEST_MODEL:
                    raise JobStateError(
                        f"the model of job {id} takes more than {LARGEST_MODEL:,} bytes; load it "
                        f"from {without_secrets(self.store.inside(id, 'model'))}"
                    )
                archive.writestr(name, data)
        if not size:
            raise SourceError(f"the model of job {id} is not in {self.store} any more")
        return packed.getvalue()

    async def _kept(self, write: Callable[..., None], *args: Any) -> None:
        try:
            await self._in_thread(write, *args)
        except (OSError, DaskEmError) as error:
            raise ClusterError(
                f"the store {self.store} cannot be written ({error}); free some space, or see "
                "that it can be reached, then try again"
            ) from error

    async def _in_thread(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    def _do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something beside, and log what it raises."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("the job service failed", exc_info=task.exception())

    def _log(self, entry: Entry, what: str) -> None:
        """A line of JSON for those who collect the scheduler's log."""
        told = {
            "event": what,
            "job": entry.id,
            "state": str(entry.job.state),
            "epoch": entry.job.epoch,
            "passes": entry.passes,
            "owner": entry.job.owner,
            **({"error": entry.job.error} if entry.job.error else {}),
        }
        logger.info(json.dumps(told))


def _has(entry: Entry, tag: str) -> bool:
    name, separator, value = tag.partition("=")
    tags = entry.spec.tags
    return name in tags and (not separator or tags[name] == value)


def _is_alive(who: dict[str, Any]) -> bool:
    """Whether a service of this machine still runs."""
    if who.get("host") != socket.gethostname() or who.get("pid") == os.getpid():
        return False
    try:
        created = psutil.Process(int(who["pid"])).create_time()
    except (psutil.Error, KeyError, ValueError, TypeError):
        return False
    # the number may be that of another process by now
    return bool(abs(created - float(who.get("created", 0.0))) < 1.0)


def _without_secrets(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: _without_secrets(value) for name, value in told.items()}
    if isinstance(told, list):
        return [_without_secrets(value) for value in told]
    return without_secrets(told) if isinstance(told, str) else told
