"""Conductor: lets events happen to jobs, keeps what becomes of them, and then does what follows."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

from dask_em.errors import ClusterError
from dask_em.service.commands import Command, Launch, Stop
from dask_em.service.config import Settings
from dask_em.service.counters import Counters
from dask_em.service.entry import Entry
from dask_em.service.job import Job, State
from dask_em.service.keeper import Keeper
from dask_em.service.launcher import DriverEndedError, Launcher
from dask_em.service.machine import (
    Change,
    DeleteAsked,
    DriverFailed,
    DriverLost,
    Event,
    SchedulerStarted,
    SlotFree,
)
from dask_em.service.queue import due, wakes_at
from dask_em.service.table import Table

__all__ = ["Conductor"]

logger = logging.getLogger("dask_em.service")

#: seconds at most between two tries to write to a store that could not be written
LONGEST_PAUSE = 5.0


class Conductor:
    """What becomes of jobs.

    Parameters
    ----------
    settings : Settings
    table : Table
    keeper : Keeper
    launcher : Launcher
    """

    def __init__(
        self, settings: Settings, table: Table, keeper: Keeper, launcher: Launcher
    ) -> None:
        self.settings, self.table, self.keeper = settings, table, keeper
        self.launcher = launcher
        self.closed: str | None = "it is starting"
        self.counters = Counters()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def check_open(self) -> None:
        """Refuse to do anything before the store was read and after it was left.

        Raises
        ------
        ClusterError
        """
        if self.closed is not None:
            raise ClusterError(
                f"the job service does not answer: {self.closed}; try again in a few seconds"
            )

    async def happen(self, entry: Entry, event: Event) -> Change:
        """Let something happen to a job: it is kept, then what follows is done.

        Raises
        ------
        ClusterError
            If it cannot be kept; then it has not happened.
        """
        async with entry.lock:
            self.check_open()
            if not self.table.holds(entry):
                return Change(entry.job, refused=f"job {entry.id}: it is deleted")
            change = event.happen(entry.job, time.time(), self.settings.patience)
            if change.refused:
                return change
            if change.job != entry.job:
                await self._keep(entry, change.job)
                self.table.touch(entry)
            for command in change.commands:
                await self._obey(entry, command)
        return change

    async def queue_again(self, entry: Entry) -> None:
        """The scheduler came up and knows nothing of the driver of a job."""

        async def queue() -> None:
            await self.happen(entry, SchedulerStarted())
            self.wake()

        try:
            await queue()
        except ClusterError:  # which does not keep the scheduler from starting
            self.beside(self._until_kept(entry, queue))

    async def fall(
        self, entry: Entry, epoch: int, reason: str, *, lost: bool, trace: str = ""
    ) -> None:
        """A driver has ended with an error; `lost` if another one may do better.

        Raises
        ------
        ClusterError
            If that cannot be kept; then it has not happened.
        """
        event = DriverLost(epoch, reason) if lost else DriverFailed(epoch, reason)
        change = await self.happen(entry, event)
        if change.refused:
            return
        if trace:
            entry.say(trace, "error")
        if change.job.state is State.queued:
            self.count_loss(entry, reason, change.job.not_before - time.time())
        else:
            entry.say(f"failed: {change.job.error}", "error")
        self.settle(entry)

    def count_loss(self, entry: Entry, reason: str, pause: float = 0.0) -> None:
        """A driver is gone, and another one follows after a pause of some seconds."""
        self.counters.driver_restarts += 1
        entry.restarts += 1
        later = f"tried again in {pause:.0f} s" if pause > 0.5 else "tried again"
        entry.say(f"{reason}; {later}", "warning", "lost")

    def settle(self, entry: Entry) -> None:
        """Nobody works on a job any more, or it stands elsewhere."""
        entry.rest()
        self.table.touch(entry)
        self.wake()
        _log(entry)
        if entry.job.state is State.done:
            forget = self.keeper.store.forget_checkpoints
            self.beside(self.keeper.in_thread(forget, entry.id))

    def wake(self) -> None:
        """Look whose turn it is."""
        self._wake.set()

    async def take_turns(self) -> None:
        """Start what is due; return when somebody else may be."""
        self._wake.clear()
        now = time.time()  # for both: a pause that ends in between would be slept through
        entries = {entry.id: entry for entry in self.table}
        for job in due(self.table.jobs(), self.settings.max_running, now):
            entry = entries[job.id]
            try:
                await self.happen(entry, SlotFree())
            except ClusterError:  # others need not wait for it
                await self._postpone(entry)
        wakes = wakes_at(self.table.jobs(), now)
        pause = None if wakes is None else max(0.01, wakes - time.time())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), pause)

    async def listen(self) -> None:
        """Part with drivers that have not been heard of for too long."""
        for entry in self.table:
            if entry.job.state is State.running:
                await self._listen_to(entry)

    async def prune(self) -> None:
        """Forget what ended long ago, and the oldest of too many."""
        ended = sorted(
            (entry for entry in self.table if entry.job.state.ended),
            key=lambda entry: -(entry.job.ended or 0.0),
        )
        oldest = time.time() - 86400 * self.settings.keep_days
        for number, entry in enumerate(ended):
            if number >= self.settings.keep_jobs or (entry.job.ended or 0.0) < oldest:
                try:
                    await self.happen(entry, DeleteAsked())
                except ClusterError:
                    return  # there will be another time; the next one could not be deleted either
                logger.info("job %s is forgotten", entry.id)

    def beside(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something beside, and log what it raises."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def for_ever(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something again and again beside; what it raises is logged."""

        async def steps() -> None:
            while self.closed is None:
                try:
                    await step()
                except Exception:
                    logger.exception("the job service failed, and goes on")
                    await asyncio.sleep(self.settings.first_pause)

        self.beside(steps())

    async def end(self, why: str) -> None:
        """Do nothing any more. Drivers end, and say nothing of that."""
        self.closed = why
        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _obey(self, entry: Entry, command: Command) -> None:
        if isinstance(command, Launch):
            entry.rest()
            entry.doing = "waiting for a worker"
            self.beside(self._drive(entry, command.epoch))
        elif isinstance(command, Stop):
            self.beside(self.launcher.stop(entry.id, command.epoch))
        else:
            if not self.table.is_written_by_others(entry):
                await self.keeper.abandon(entry)
            async with entry.files:
                await self.keeper.keep(self.keeper.store.forget, entry.id)
                self.table.drop(entry)

    async def _drive(self, entry: Entry, epoch: int) -> None:
        """Run a driver, and see how it ended."""
        trace = ""
        try:
            await self.launcher.run(entry.id, epoch)
            # one that could say how it ended is not that of a running job any more
            reason, lost = "its driver ended without a word", True
        except DriverEndedError as error:
            reason, lost, trace = error.reason, error.lost, error.trace
        except Exception as error:  # of the connection with the own scheduler
            logger.exception("a driver of job %s cannot be started", entry.id)
            reason, lost = f"its driver cannot be started: {error!r}", True
        if entry.job.state is State.running and entry.job.epoch == epoch:
            await self._until_kept(
                entry, lambda: self.fall(entry, epoch, reason, lost=lost, trace=trace)
            )

    async def _listen_to(self, entry: Entry) -> None:
        epoch, silence = entry.job.epoch, self.settings.silence
        if not self.launcher.has_begun(entry.id, epoch):
            entry.heard = time.monotonic()
        if time.monotonic() - entry.heard < silence:
            return
        entry.heard = time.monotonic()
        reason = f"its driver said nothing for {silence:g} s"
        if await self.launcher.part_with_worker(entry.id, epoch, silence):
            entry.say(f"{reason}, nor did its worker, which is removed", "warning")
            return  # another worker runs the driver
        self.beside(self._replace(entry, epoch, reason))  # others are listened to meanwhile

    async def _replace(self, entry: Entry, epoch: int, reason: str) -> None:
        await self._until_kept(entry, lambda: self.fall(entry, epoch, reason, lost=True))
        await self.launcher.stop(entry.id, epoch)

    async def _until_kept(self, entry: Entry, act: Callable[[], Awaitable[None]]) -> None:
        """Do something that needs the store; where that cannot be written, again after pauses."""
        pause = self.settings.first_pause
        while True:
            try:
                return await act()
            except ClusterError as error:
                if self.closed is not None:
                    raise
                logger.warning("job %s: %s; tried again in %g s", entry.id, error, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _keep(self, entry: Entry, job: Job) -> None:
        try:
            await self.keeper.keep(self.keeper.store.save, job, entry.key)
        except ClusterError as error:
            if entry.suffer(str(error)):
                self.table.touch(entry)
            raise
        entry.job, entry.trouble = job, None

    async def _postpone(self, entry: Entry) -> None:
        """Let a job wait that cannot be kept; this cannot be kept either, and need not."""
        async with entry.lock:
            entry.job = replace(entry.job, not_before=time.time() + LONGEST_PAUSE)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self.closed is None:
            logger.error("the job service failed", exc_info=task.exception())


def _log(entry: Entry) -> None:
    """A line of JSON for those who collect the scheduler's log."""
    job = entry.job
    told = {
        "job": job.id,
        "state": str(job.state),
        "epoch": job.epoch,
        "passes": entry.passes,
        "owner": job.owner,
        **({"error": job.error} if job.error else {}),
    }
    logger.info(json.dumps(told))
