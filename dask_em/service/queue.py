"""Whose turn it is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heapreplace

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
    free = most_running - running.total()
    waiting = [job for job in jobs if job.state is State.queued and job.not_before <= now]
    waiting.sort(key=lambda job: (job.priority, -job.order))  # of each owner the last comes first
    by_owner: dict[str, list[Job]] = defaultdict(list)
    for job in waiting:
        by_owner[job.owner].append(job)
    firsts = [_rank(owned[-1], running) for owned in by_owner.values()]
    heapify(firsts)
    found: list[Job] = []
    while firsts and len(found) < free:
        owner = firsts[0][-1]
        found.append(by_owner[owner].pop())
        running[owner] += 1  # which changes the rank of nobody else's
        if by_owner[owner]:
            heapreplace(firsts, _rank(by_owner[owner][-1], running))
        else:
            heappop(firsts)
    return found


def _rank(job: Job, running: Mapping[str, int]) -> tuple[int, int, int, str]:
    """What comes first among the first jobs of all owners."""
    return -job.priority, running[job.owner], job.order, job.owner


def wakes_at(jobs: Iterable[Job], now: float) -> float | None:
    """When the first job that pauses may be started, seconds since 1970; None if none does."""
    pauses = [j.not_before for j in jobs if j.state is State.queued and j.not_before > now]
    return min(pauses, default=None)
