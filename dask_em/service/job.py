"""Job: all that decides what happens to a job next. It is stored before it is acted on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Commit", "Job", "State"]


class State(StrEnum):
    """Where a job stands."""

    queued = "queued"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing happens to it any more unless somebody asks."""
        return self in (State.done, State.failed, State.cancelled)


@dataclass(frozen=True)
class Commit:
    """A checkpoint that counts, and the driver that wrote it."""

    epoch: int  # of the driver
    run: int  # of the driver's task, as the scheduler counts its runs
    iteration: int


@dataclass(frozen=True)
class Job:
    """A job.

    Parameters
    ----------
    id : str
    order : int
        Of submission: one that was submitted before has a smaller one.
    priority : int
        Higher ones are started first.
    owner : str
        Whose it is; among equals, owners take turns.
    state : State
    epoch : int
        How many drivers were launched. Only the last one may commit.
    run : int, or None
        The run of the driver's task that was heard of last. A task whose worker died is run again
        under another number, and what the dead one still says is stale.
    checkpoint : Commit, or None
        From where it goes on.
    losses : int
        Drivers that were lost since the last commit.
    not_before : float
        When it may be started again, seconds since 1970.
    error : str, or None
        What ended it, or the last driver.
    submitted, started, ended : float, or None
        When, seconds since 1970. `started` is that of the first driver.
    """

    id: str
    order: int
    priority: int = 0
    owner: str = ""
    state: State = State.queued
    epoch: int = 0
    run: int | None = None
    checkpoint: Commit | None = None
    losses: int = 0
    not_before: float = 0.0
    error: str | None = None
    submitted: float = 0.0
    started: float | None = None
    ended: float | None = None

    @property
    def iteration(self) -> int:
        """How far it got: that of its checkpoint."""
        return 0 if self.checkpoint is None else self.checkpoint.iteration
