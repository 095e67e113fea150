"""`dask-em jobs`: the jobs of a service."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer

from dask_em.cli.jobs.connection import again, connected_to
from dask_em.cli.jobs.options import Service
from dask_em.cli.options import JSON

__all__ = ["Standing", "jobs"]


class Standing(StrEnum):
    """Where a job stands."""

    queued = "queued"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"


def jobs(
    state: Annotated[Standing | None, typer.Option(help="Those that stand there.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="NAME", help="Those of somebody.")] = None,
    tag: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Those that carry a tag: NAME, or NAME=VALUE."),
    ] = None,
    scheduler: Service = None,
    as_json: JSON = False,
) -> None:
    """List jobs, the newest first: what they are, where they stand and how far they got."""
    from dask_em.cli.text import print_json

    with connected_to(scheduler) as service:
        found = service.jobs(state=None if state is None else state.value, owner=owner, tag=tag)
        views = [job.view for job in found]
    if as_json:
        print_json({"jobs": [view.told() for view in views]})
    elif not views:
        chosen = any(option is not None for option in (state, owner, tag))
        print("no job is like that" if chosen else "there are no jobs")
        print(f"next: {again('dask-em jobs' if chosen else 'dask-em submit job.json', scheduler)}")
    else:
        from dask_em.cli.jobs.tables import jobs_table, print_table

        print_table(jobs_table(views, time.time()))
