"""Feed: what all open pages of a scheduler show, asked of the job service once for all of them."""

from __future__ import annotations

import math
import operator
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from dask_em.dashboard.cells import FIELDS, Row, age, cells
from dask_em.dashboard.thin import picks
from dask_em.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Scheduler

    from dask_em.dashboard.reporter import Reporter
    from dask_em.service.view import JobView

__all__ = ["MOST_JOBS", "Feed", "Sketch", "feed_of"]

MOST_JOBS = 500  # in the table; those that ended longest ago are left out
SKETCH_POINTS = 100
FRESH_SECONDS = 0.4  # pages that update within this time are told the same
SKETCH_SECONDS = 5.0
_AGE = FIELDS.index("age")

_feeds: WeakKeyDictionary[Scheduler, Feed] = WeakKeyDictionary()


@dataclass(frozen=True)
class Sketch:
    """The log-likelihood of a job in few points."""

    numbers: list[int]  # of the passes
    objectives: list[float]  # nats per row


class Feed:
    """The jobs of a scheduler, their rows in the table, and sketches of their curves.

    Attributes
    ----------
    jobs : dict of JobView by id
        Those that run, the one that began last first; those that wait; those that ended.
    rows : dict of Row by id
        In the same order. The row of a job that did not change is the same object.
    change : int
        Grows with every change of these.
    n_jobs : dict of int by state
    """

    def __init__(self) -> None:
        self.jobs: dict[str, JobView] = {}
        self.rows: dict[str, Row] = {}
        self.n_jobs: dict[str, int] = {}
        self.change = 0
        self._asked = -math.inf
        self._sketches: dict[str, tuple[int, float, Sketch]] = {}

    def refresh(self, reporter: Reporter | None, now: float) -> None:
        """Ask what is new, unless another page just did.

        Parameters
        ----------
        reporter : Reporter, or None
            None empties the feed.
        now : float
            Seconds since 1970.
        """
        if 0 <= now - self._asked < FRESH_SECONDS:
            return
        self._asked = now
        told = [] if reporter is None else sorted(_told(reporter), key=_place)
        jobs = {job.id: job for job in told[:MOST_JOBS]}
        rows = {job.id: self._row(reporter, job, now) for job in jobs.values() if reporter}
        n_jobs = dict(Counter(job.state for job in told))
        if n_jobs == self.n_jobs and _same(rows, self.rows):
            return
        self.jobs, self.rows, self.n_jobs = jobs, rows, n_jobs
        self._sketches = {one: kept for one, kept in self._sketches.items() if one in jobs}
        self.change += 1

    def sketch(self, reporter: Reporter, job: JobView, now: float) -> Sketch:
        """The curve of a job in few points, up to some seconds old; if unchanged the same one."""
        kept = self._sketches.get(job.id)
        if kept is None or (kept[0] != job.version and not 0 <= now - kept[1] < SKETCH_SECONDS):
            kept = self._sketches[job.id] = job.version, now, _sketch(reporter, job.id)
        return kept[2]

    def _row(self, reporter: Reporter, job: JobView, now: float) -> Row:
        """The row as it was, if nothing changed."""
        old = self.jobs.get(job.id)
        if old is not None and old.version == job.version:
            row = self.rows[job.id]
            if row[_AGE] == age(now - job.submitted):
                return row
        return cells(job, _speed(reporter, job), now)


def feed_of(scheduler: Scheduler) -> Feed:
    """The one feed of a scheduler."""
    return _feeds.setdefault(scheduler, Feed())


def _told(reporter: Reporter) -> list[JobView]:
    with suppress(ClusterError):  # it has not read its store yet, or another service has it now
        return reporter.jobs()
    return []


def _place(job: JobView) -> tuple[int, float]:
    """Where a job stands in the table: what goes on comes first."""
    if job.state == "running":
        return 0, -(job.submitted if job.started is None else job.started)
    if job.state == "queued":
        return 1, math.inf if job.position is None else job.position
    return 2, -(job.submitted if job.ended is None else job.ended)


def _speed(reporter: Reporter, job: JobView) -> float:
    """Rows per second of the last pass of a job that runs."""
    if job.state != "running":
        return math.nan  # and its passes need not be looked up
    last = reporter.trace(job.id, after=max(0, job.passes - 1))
    return last[-1].rows_per_second if last else math.nan


def _sketch(reporter: Reporter, id: str) -> Sketch:
    known = [one for one in reporter.trace(id) if one.objective is not None]
    drawn = [known[i] for i in picks(len(known), SKETCH_POINTS)]
    return Sketch([one.number for one in drawn], [one.objective or 0.0 for one in drawn])


def _same(new: dict[str, Row], old: dict[str, Row]) -> bool:
    """Whether the same objects stand in the same order."""
    return len(new) == len(old) and all(map(operator.is_, new.values(), old.values()))
