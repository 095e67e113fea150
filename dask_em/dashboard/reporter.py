"""What the page asks of the job service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from distributed import Scheduler

    from dask_em.service.view import JobView, Mark, PassView

__all__ = ["Reporter", "reporter_of"]


class Reporter(Protocol):
    """The part of a supervisor that tells of jobs. Nothing of it waits."""

    def jobs(self) -> list[JobView]:
        """All jobs, newest first."""

    def trace(self, id: str, after: int = 0) -> list[PassView]:
        """The passes of a job that come after one."""

    def marks(self, id: str) -> list[Mark]:
        """What befell a job."""


def reporter_of(scheduler: Scheduler) -> Reporter | None:
    """The supervisor of a scheduler; None if the job service is not installed."""
    return cast("Reporter | None", scheduler.extensions.get("em"))
