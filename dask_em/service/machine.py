"""The state machine of a job: pure, event in, new record and commands out.

A change is stored before its commands are carried out, and events may come twice, late or never: a
driver that was thought dead may speak again. So every event of a driver names its epoch and run,
and those of others than the last are refused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

from dask_em.service.commands import Command, Forget, Launch, Stop
from dask_em.service.job import Commit, Job, State

__all__ = [
    "CancelAsked",
    "Change",
    "Committed",
    "DeleteAsked",
    "DriverFailed",
    "DriverLost",
    "Event",
    "Finished",
    "Heard",
    "Patience",
    "ResumeAsked",
    "SchedulerStarted",
    "SlotFree",
]


@dataclass(frozen=True)
class Patience:
    """How often, and when, a job is started again whose driver was lost.

    Parameters
    ----------
    most_losses : int
        In a row, without a commit between them, before the job fails.
    first_pause, longest_pause : float
        Seconds before it is started again; each pause is twice the one before.
    """

    most_losses: int = 20
    first_pause: float = 1.0
    longest_pause: float = 300.0

    def pause(self, losses: int) -> float:
        """Seconds to wait after so many losses in a row; the first costs nothing."""
        if losses <= 1:
            return 0.0
        doublings = min(losses - 2, 60)  # more would overflow, and are longer than any limit
        return min(self.first_pause * 2.0**doublings, self.longest_pause)


@dataclass(frozen=True)
class Change:
    """What an event makes of a job.

    Parameters
    ----------
    job : Job
        As it is from now on.
    commands : tuple of Command
        To be carried out once the job is stored.
    refused : str, or None
        Why nothing came of the event.
    """

    job: Job
    commands: tuple[Command, ...] = ()
    refused: str | None = None


class Event(ABC):
    """Something that happens to a job."""

    @abstractmethod
    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        """What becomes of the job.

        Parameters
        ----------
        job : Job
        now : float
            Seconds since 1970.
        patience : Patience
        """


@final
@dataclass(frozen=True)
class SlotFree(Event):
    """The queue says that it is this job's turn."""

    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        if job.state is not State.queued:
            return _refuse(job, f"it is {job.state}, and only queued jobs are started")
        if now < job.not_before:
            return _refuse(job, f"it pauses for {job.not_before - now:.1f} s more")
        epoch = job.epoch + 1
        started = now if job.started is None else job.started
        running = replace(job, state=State.running, epoch=epoch, run=None, started=started)
        return Change(running, (Launch(epoch),))


@final
@dataclass(frozen=True)
class Heard(Event):
    """A driver says that it works."""

    epoch: int
    run: int

    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        stale = _stale(job, self.epoch, self.run)
        return _refuse(job, stale) if stale else Change(replace(job, run=self.run))


@final
@dataclass(frozen=True)
class Committed(Event):
    """A driver wrote a checkpoint, and asks that it counts."""

    epoch: int
    run: int
    iteration: int

    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        stale = _stale(job, self.epoch, self.run)
        if stale:
            return _refuse(job, stale)
        commit = Commit(self.epoch, self.run, self.iteration)
        if commit == job.checkpoint:
            return Change(job)  # asked again, as the answer was lost
        if job.checkpoint is not None and self.iteration <= job.iteration:
            return _refuse(
                job,
                f"iteration {self.iteration} is not after {job.iteration}, which counts already",
            )
        return Change(replace(job, run=self.run, checkpoint=commit, losses=0, error=None))


@final
@dataclass(frozen=True)
class Finished(Event):
    """A driver's result is stored."""

    epoch: int
    run: int

    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        if job.state is State.done and (self.epoch, self.run) == (job.epoch, job.run):
            return Change(job)  # told again, as the answer was lost
        stale = _stale(job, self.epoch, self.run)
        if stale:
            return _refuse(job, stale)
        return Change(replace(job, state=State.done, run=self.run, error=None, ended=now))


@final
@dataclass(frozen=True)
class DriverFailed(Event):
    """A driver ended with an error that another one would meet as well."""

    epoch: int
    error: str

    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        stale = _stale(job, self.epoch)
        if stale:
            return _refuse(job, stale)
        return Change(replace(job, state=State.failed, run=None, error=self.error, ended=now))


@final
@dataclass(frozen=True)
class DriverLost(Event):
    """A driver is gone through no fault of its own: its worker died, or somebody restarted all."""

    epoch: int
    reason: str

    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        stale = _stale(job, self.epoch)
        if stale:
            return _refuse(job, stale)
        losses = job.losses + 1
        if losses > patience.most_losses:
            error = (
                f"{self.reason}; {losses} drivers in a row were lost without a checkpoint between "
                f"them, the limit is {patience.most_losses}; see the logs of the workers, then "
                "resume the job"
            )
            return Change(
                replace(job, state=State.failed, run=None, losses=losses, error=error, ended=now)
            )
        not_before = now + patience.pause(losses)
        queued = _requeued(replace(job, losses=losses, not_before=not_before, error=self.reason))
        return Change(queued)


@final
@dataclass(frozen=True)
class SchedulerStarted(Event):
    """The scheduler came up, and knows of no driver."""

    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        # nobody's fault: it counts as no loss and costs no pause
        return Change(_requeued(job) if job.state is State.running else job)


@final
@dataclass(frozen=True)
class CancelAsked(Event):
    """Somebody wants it to end."""

    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        if job.state.ended:
            return _refuse(job, f"it is {job.state} already")
        commands = (Stop(job.epoch),) if job.state is State.running else ()
        return Change(replace(job, state=State.cancelled, run=None, ended=now), commands)


@final
@dataclass(frozen=True)
class ResumeAsked(Event):
    """Somebody wants a job that failed, or was cancelled, to go on from its checkpoint."""

    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        if job.state not in (State.failed, State.cancelled):
            return _refuse(job, f"it is {job.state}; only failed and cancelled jobs are resumed")
        again = replace(job, losses=0, not_before=now, error=None, ended=None)
        return Change(_requeued(again))


@final
@dataclass(frozen=True)
class DeleteAsked(Event):
    """Somebody wants nothing to be left of it."""

    def happen(self, job: Job, now: float, patience: Patience) -> Change:
        if not job.state.ended:
            return _refuse(job, f"it is {job.state}; cancel it first")
        return Change(job, (Forget(),))


def _requeued(job: Job) -> Job:
    return replace(job, state=State.queued, run=None)


def _stale(job: Job, epoch: int, run: int | None = None) -> str | None:
    """Why a driver has nothing to say any more; None if it has."""
    if job.state is not State.running:
        return f"it is {job.state}, so no driver speaks for it"
    if epoch != job.epoch:
        return f"driver {epoch} was replaced by driver {job.epoch}"
    if run is not None and job.run is not None and run < job.run:
        return f"run {run} of driver {epoch} was replaced by run {job.run}"
    return None


def _refuse(job: Job, why: str) -> Change:
    return Change(job, refused=f"job {job.id}: {why}")
