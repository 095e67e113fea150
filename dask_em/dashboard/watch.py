"""Watch: what one page looks at."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

from dask_em.dashboard.feed import feed_of
from dask_em.dashboard.passes import Passes
from dask_em.dashboard.reporter import Reporter, reporter_of

if TYPE_CHECKING:
    from distributed import Scheduler

    from dask_em.service.view import JobView

__all__ = ["Watch"]


@final
class Watch:
    """The job that a page shows: the one that was chosen there, or the one that began last.

    Attributes
    ----------
    feed : Feed
        Shared with all other pages.
    passes : Passes
        Of the job that is shown.
    job : JobView, or None
        That is shown; None if there is none.
    reporter : Reporter, or None
        None if the job service is not installed.
    now : float
        When it was looked last, seconds since 1970.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.feed = feed_of(scheduler)
        self.passes = Passes()
        self.job: JobView | None = None
        self.reporter: Reporter | None = None
        self.now = 0.0
        self._chosen: str | None = None
        self._seen: tuple[object, ...] = ()

    def choose(self, id: str | None) -> None:
        """Show a job; None shows the one that began last, whichever that is."""
        self._chosen = id

    def look(self) -> bool:
        """Ask what is new; whether there is anything."""
        self.reporter = reporter_of(self.scheduler)
        self.now = time.time()
        self.feed.refresh(self.reporter, self.now)
        seen = self.feed.change, self._chosen, self.reporter is None
        if seen == self._seen:
            return False
        self._seen = seen
        self.job = self._shown()
        self.passes.follow(self.reporter, self.job)
        return True

    def _shown(self) -> JobView | None:
        if self._chosen in self.feed.jobs:
            return self.feed.jobs[self._chosen]
        # where none runs, the newest, rather than the one that waits or ended last
        jobs = self.feed.jobs.values()
        running = next((job for job in jobs if job.state == "running"), None)
        return running or max(jobs, key=lambda job: job.submitted, default=None)
