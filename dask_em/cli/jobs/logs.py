"""`dask-em logs`: what a job has said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from dask_em.cli.jobs.connection import again, connected_to
from dask_em.cli.jobs.options import JobId, Service
from dask_em.cli.options import JSON
from dask_em.cli.outcome import INTERRUPTED, say, wrong_usage
from dask_em.service.connection import patiently

if TYPE_CHECKING:
    from dask_em.service.client import Job

__all__ = ["logs"]

#: seconds between two looks
PAUSE = 0.5
#: lines that are fetched at a look
FETCHED = 1000

Line: TypeAlias = "dict[str, Any]"


def logs(
    job: JobId,
    last: Annotated[int, typer.Option(min=0, metavar="N", help="How many lines.")] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is new, until the job ends.")
    ] = False,
    scheduler: Service = None,
    as_json: JSON = False,
) -> None:
    """Show the last lines of a job's log, of all the workers that it was on."""
    if as_json and follow:
        raise wrong_usage("--json is one document, --follow has no end; give one or the other")
    from dask_em.cli.text import print_json

    with connected_to(scheduler) as service:
        found = service.job(job)
        lines = found.logs(last)
        if as_json:
            print_json({"id": found.id, "lines": lines})
            return
        _print(lines)
        if follow:
            _follow(found, lines, scheduler)


def _follow(job: Job, lines: list[Line], scheduler: str | None) -> None:
    try:
        for new in _news(job, lines):
            _print(new)
    except KeyboardInterrupt as error:
        again_by = again(f"dask-em logs {job.id} --follow", scheduler)
        say(f"left; job {job.id} goes on. To follow it again: {again_by}")
        raise typer.Exit(INTERRUPTED) from error


def _news(job: Job, lines: list[Line]) -> Iterator[list[Line]]:
    from dask_em.cli.jobs.words import ENDED

    while True:
        # asked before the lines, so that the last one is among them
        ended = patiently(job.refresh).state in ENDED
        found = patiently(lambda: job.logs(FETCHED))
        yield found[_after(lines, found) :]
        lines = found or lines
        if ended:
            return
        time.sleep(PAUSE)


def _after(before: list[Line], found: list[Line]) -> int:
    """Where in the lines that were found the new ones begin."""
    if not before:
        return 0
    places = [place for place, line in enumerate(found) if line == before[-1]]
    return places[-1] + 1 if places else 0


def _print(lines: list[Line]) -> None:
    from dask_em.cli.jobs.words import clock

    for line in lines:
        where = f"  ({line['worker']})" if line.get("worker") else ""
        print(f"{clock(line['time'])} {line['level']:<7} {line['text']}{where}", flush=True)
