"""The row of a job in the table of jobs."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from dask_em.service.view import JobView

__all__ = ["FIELDS", "Row", "age", "cells", "waits_for"]

#: what the table needs of each job, in the order of a row
FIELDS = (
    "id",
    "what",
    "data",
    "state",
    "passes",
    "max_passes",
    "tasks_done",
    "tasks",
    "objective",
    "rows_per_second",
    "owner",
    "submitted",
    "age",
    "restarts",
    "note",
)

Row: TypeAlias = tuple[Any, ...]
LONGEST_NOTE = 200  # characters; the whole error stands below the table


def cells(job: JobView, rows_per_second: float, now: float) -> Row:
    """The values of a row, in the order of `FIELDS`.

    Parameters
    ----------
    job : JobView
    rows_per_second : float
        Of its last pass; not a number if there is none.
    now : float
        Seconds since 1970.
    """
    return (
        job.id,
        job.what,
        job.data,
        job.state,
        job.passes,
        job.max_passes or 0,
        job.tasks_done,
        job.tasks,
        math.nan if job.objective is None else job.objective,
        rows_per_second,
        job.owner,
        job.submitted,
        age(now - job.submitted),
        job.restarts,
        note(job),
    )


def note(job: JobView) -> str:
    """What a job does, what it waits for, or why it ended, in short."""
    if job.state == "queued":
        return waits_for(job)
    if job.error:
        # the last line of a traceback is the error
        return _short(job.error.strip().splitlines()[-1])
    return job.doing if job.state == "running" else ""


def waits_for(job: JobView) -> str:
    """What keeps a queued job from running."""
    place = f"number {job.position} in the queue" if job.position else "waits for its turn"
    if not job.error:
        return place
    until = datetime.fromtimestamp(job.not_before, UTC).astimezone().strftime("%H:%M:%S")
    return _short(f"again from {until}: {job.error.strip().splitlines()[-1]}")


def age(seconds: float) -> str:
    """How long ago something was, so coarse that it seldom changes."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "now"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_NOTE else text[: LONGEST_NOTE - 3] + "..."
