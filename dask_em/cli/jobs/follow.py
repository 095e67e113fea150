"""Following a job: what is new of it, until it has ended or somebody leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dask_em.cli.jobs.words import ENDED
from dask_em.service.connection import patiently

if TYPE_CHECKING:
    from dask_em.service.client import Job
    from dask_em.service.view import JobView, Mark, PassView

__all__ = ["News", "followed"]


@dataclass(frozen=True)
class News:
    """A job as it is now, and what came since it was looked at before."""

    view: JobView
    passes: tuple[PassView, ...]
    marks: tuple[Mark, ...]


def followed(job: Job) -> Iterator[News]:
    """What is new of a job, beginning with all that there is, until it has ended."""
    number, n_marks, before = 0, 0, None
    for view in job.watch():
        passes: list[PassView] = []
        marks: list[Mark] = []
        if _stand(view) != before:  # what changes with every task needs no further question
            passes = patiently(partial(job.trace, after=number))
            marks = patiently(job.marks)[n_marks:]
            before = _stand(view)
        number = passes[-1].number if passes else number
        n_marks += len(marks)
        yield News(view, tuple(passes), tuple(marks))
        if view.state in ENDED:
            return


def _stand(view: JobView) -> tuple[object, ...]:
    return view.state, view.epoch, view.restarts, view.passes, view.doing, view.objective
