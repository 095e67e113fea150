"""`dask-em watch`: a job, or all of them, as they go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dask_em.cli.jobs.connection import again, connected_to
from dask_em.cli.jobs.options import Service
from dask_em.cli.jobs.words import ending, failure
from dask_em.cli.options import JSON
from dask_em.cli.outcome import FAILED, INTERRUPTED, say

if TYPE_CHECKING:
    from dask_em.service.client import Job
    from dask_em.service.view import JobView

__all__ = ["watch", "watch_one"]


def watch(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Id of the job; without one, all jobs.")
    ] = None,
    scheduler: Service = None,
    as_json: JSON = False,
) -> None:
    """Watch a job until it ends: its passes, the curve of its log-likelihood, its rate.

    Ctrl-C leaves; the job goes on, and can be watched again. Without an id all jobs are watched
    until none is queued or running.
    """
    with connected_to(scheduler) as service:
        if job is not None:
            watch_one(service.job(job), scheduler, as_json)
            return
        from dask_em.cli.jobs.watch_all import watch_all

        try:
            watch_all(service, as_json)
        except KeyboardInterrupt as error:
            again_by = again("dask-em watch", scheduler)
            say(f"left; the jobs go on. To watch them again: {again_by}")
            raise typer.Exit(INTERRUPTED) from error


def watch_one(job: Job, scheduler: str | None, as_json: bool) -> None:
    """Show a job until it has ended, and how.

    Raises
    ------
    typer.Exit
        If it failed, was cancelled, or somebody left.
    """
    from dask_em.cli.text import print_json

    try:
        view = _seen(job, as_json)
    except KeyboardInterrupt as error:
        again_by = again(f"dask-em watch {job.id}", scheduler)
        say(f"left; job {job.id} goes on. To watch it again: {again_by}")
        raise typer.Exit(INTERRUPTED) from error
    if as_json:
        print_json(view.told())
    else:
        print(f"{view.id} {ending(view)}")
    if view.state == "failed":
        tells_more = again(f"dask-em show {view.id}", scheduler)
        say(f"error: job {view.id} failed: {failure(view)}; {tells_more} tells more")
    if view.state != "done":
        raise typer.Exit(FAILED)
    if not as_json:
        print(f"next: {_next(view, scheduler)}")


def _seen(job: Job, as_json: bool) -> JobView:
    from dask_em.cli.jobs.follow import followed
    from dask_em.cli.jobs.screen import watching
    from dask_em.cli.text import progress_console, result_console

    view = job.view
    with watching(progress_console() if as_json else result_console()) as shown:
        for news in followed(job):
            shown.see(news)
            view = news.view
    return view


def _next(view: JobView, scheduler: str | None) -> str:
    if view.task == "predict":
        return f"dask-em inspect {view.output}"
    return again(f"dask-em result {view.id}", scheduler)
