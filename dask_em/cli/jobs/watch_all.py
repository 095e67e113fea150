"""All jobs of a service, as they go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from dask_em.cli.jobs.words import ENDED, clock, ending, nats, passes, state
from dask_em.cli.outcome import FAILED
from dask_em.service.connection import patiently

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from dask_em.service.client import Service
    from dask_em.service.view import JobView

__all__ = ["watch_all"]

#: seconds between two looks
PAUSE = 1.0
#: lines of a screen that are no jobs
OTHERS = 5


def watch_all(service: Service, as_json: bool) -> None:
    """Show all jobs until none is queued or running.

    Raises
    ------
    typer.Exit
        If one of those that were failed, or was cancelled.
    """
    from dask_em.cli.text import print_json, progress_console, result_console

    console = progress_console() if as_json else result_console()
    seen: set[str] = set()
    views: list[JobView] = []
    for views in _redrawn(console, _looks(service)):
        seen |= {view.id for view in views if view.state not in ENDED}
    if as_json:
        print_json({"jobs": [view.told() for view in views]})
    elif not views:
        print("there are no jobs")
    if any(view.id in seen and view.state != "done" for view in views):
        raise typer.Exit(FAILED)


def _looks(service: Service) -> Iterator[list[JobView]]:
    jobs = service.jobs()
    while True:
        views = [job.view for job in jobs]
        yield views
        if all(view.state in ENDED for view in views):
            return
        time.sleep(PAUSE)
        jobs = patiently(service.jobs)


def _redrawn(console: Console, looks: Iterator[list[JobView]]) -> Iterator[list[JobView]]:
    if not console.is_terminal:
        yield from _told(console, looks)
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        for views in looks:
            live.update(_table(views, console.size.height), refresh=True)
            yield views


def _table(views: list[JobView], height: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from dask_em.cli.jobs.tables import jobs_table

    # what goes on comes first, where the screen ends the others are left out
    ordered = sorted(views, key=lambda view: view.state in ENDED)
    shown = ordered[: max(3, height - OTHERS)]
    more = len(ordered) - len(shown)
    rest = [Text(f"and {more:,} more: dask-em jobs", "dim")] if more else []
    return Group(jobs_table(shown, time.time()), *rest)


def _told(console: Console, looks: Iterator[list[JobView]]) -> Iterator[list[JobView]]:
    before: dict[str, tuple[object, ...]] = {}
    for views in looks:
        for view in views:
            stands = (view.state, view.passes)
            if before.get(view.id) != stands:
                line = f"{clock(time.time())} {view.id} {_line(view)}"
                console.print(line, highlight=False, markup=False, soft_wrap=True)
            before[view.id] = stands
        yield views


def _line(view: JobView) -> str:
    if view.state in ENDED:
        return ending(view)
    reached = "" if view.objective is None else f"; log-likelihood {nats(view.objective)} per row"
    made = f", {passes(view)} passes" if view.passes else ""
    return f"{state(view, time.time())}{made}{reached}"
