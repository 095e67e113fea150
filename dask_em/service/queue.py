"""Whose turn it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dask_em.service.job import Job, State

__all__ = ["due", "wakes_at"]


def due(jobs: Iterable[Job], most_running: int, now: float) -> list[Job]:
    """The jobs to be started now, in order.

    Of the highest priority first; among those, of the owner with the fewest running, so that one
    who submits a hundred does not keep others waiting; among those, the one submitted first.

    Parameters
    ----------
    jobs : iterable of Job
        All that there are.
    most_running : int
        How many may run at a time.
    now : float
        Seconds since 1970.
    """
    jobs = list(jobs)
    running = Counter(job.owner for job in jobs if job.state is State.running)
    waiting = [job for job in jobs if job.state is State.queued and job.not_before <= now]
    found: list[Job] = []
    for _ in range(min(len(waiting), most_running - running.total())):
        first = min(waiting, key=lambda job: (-job.priority, running[job.owner], job.order))
        waiting.remove(first)
        running[first.owner] += 1
        found.append(first)
    return found


def wakes_at(jobs: Iterable[Job], now: float) -> float | None:
    """When the first job that pauses may be started, seconds since 1970; None if none does."""
    pauses = [j.not_before for j in jobs if j.state is State.queued and j.not_before > now]
    return min(pauses, default=None)
