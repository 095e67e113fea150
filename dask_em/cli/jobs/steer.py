"""`dask-em cancel`, `resume` and `delete`: what is to become of jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from dask_em.cli.jobs.connection import connected_to
from dask_em.cli.jobs.options import JobIds, Service
from dask_em.cli.options import JSON
from dask_em.cli.outcome import FAILED, say
from dask_em.errors import JobError

if TYPE_CHECKING:
    from dask_em.service.client import Job

__all__ = ["cancel", "delete", "resume"]


def cancel(jobs: JobIds, scheduler: Service = None, as_json: JSON = False) -> None:
    """Cancel jobs that are queued or running. Their checkpoints stay: resume goes on from them."""
    _each(jobs, scheduler, as_json, lambda job: job.cancel(), "cancelled")


def resume(jobs: JobIds, scheduler: Service = None, as_json: JSON = False) -> None:
    """Queue jobs again that were cancelled or failed. They go on from their last checkpoint."""
    _each(jobs, scheduler, as_json, lambda job: job.resume(), "queued again")


def delete(jobs: JobIds, scheduler: Service = None, as_json: JSON = False) -> None:
    """Remove all that is kept of jobs that have ended. What they wrote elsewhere stays."""
    _each(jobs, scheduler, as_json, lambda job: job.delete(), "deleted")


def _each(
    ids: list[str],
    scheduler: str | None,
    as_json: bool,
    do: Callable[[Job], object],
    done: str,
) -> None:
    """Do something with each job; one that refuses does not keep the others from it."""
    from dask_em.cli.text import print_json

    did: list[str] = []
    with connected_to(scheduler) as service:
        for one in dict.fromkeys(ids):
            try:
                do(service.job(one))
            except JobError as error:
                say(f"error: {error}")
                continue
            did.append(one)
            if not as_json:
                print(f"{one} {done}")
    if as_json:
        print_json({done.replace(" ", "_"): did})
    if len(did) < len(set(ids)):
        raise typer.Exit(FAILED)
