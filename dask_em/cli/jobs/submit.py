"""`dask-em submit`: a job for a service, which goes on when the command has ended."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from dask_em.cli.jobs.connection import again, connected_to
from dask_em.cli.jobs.options import Service, SpecFile
from dask_em.cli.jobs.specification import Specification
from dask_em.cli.options import JSON
from dask_em.cli.outcome import INTERRUPTED, say

__all__ = ["submit"]


def submit(
    file: SpecFile,
    scheduler: Service = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The same specification with the same key is one job."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the job until it ends.")] = False,
    as_json: JSON = False,
) -> None:
    """Submit a job: a fit, a sweep or a prediction, described by a file.

    The id is printed at once; the job needs nobody who waits.
    """
    from dask_em.cli.jobs.watch import watch_one
    from dask_em.cli.jobs.words import said, state
    from dask_em.cli.text import print_json

    told = Specification.read(file).told
    with connected_to(scheduler) as service:
        try:
            job = service.submit(told, idempotency_key=idempotency_key)
        except KeyboardInterrupt as error:
            see = again("dask-em jobs", scheduler)
            say(f"left before the service had answered; it may have the job: {see}")
            raise typer.Exit(INTERRUPTED) from error
        if not as_json:
            print(f"{job.id} {state(job.view, time.time())}: {said(job.view)}")
        if wait:
            watch_one(job, scheduler, as_json)
        elif as_json:
            print_json(job.view.told())
        else:
            print(f"next: {again(f'dask-em watch {job.id}', scheduler)}")
            print(f"      {again('dask-em jobs', scheduler)}")
