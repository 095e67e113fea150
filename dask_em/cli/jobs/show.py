"""What there is to say of one job."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dask_em.cli.jobs.connection import again, connected_to, known_address

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dask_em.service.client import Job
    from dask_em.service.view import JobView, Mark, PassView

__all__ = ["is_job", "show_job"]

#: names of stores have separators or an ending, those of jobs have neither
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
#: points of a curve
WIDTH = 60
#: passes, and things that befell a job, that are shown at most
SHOWN = 10


def is_job(text: str, scheduler: str | None) -> bool:
    """Whether a job is meant rather than a saved model: nothing is there, and it may be an id."""
    if "://" in text or Path(text).exists():
        return False
    if scheduler is not None:  # whoever names one means a job
        return True
    return ID.fullmatch(text) is not None and known_address(None) is not None


def show_job(id: str, scheduler: str | None, as_json: bool) -> None:
    """Show where a job stands, its passes, what befell it, and what to do next."""
    from dask_em.cli.text import print_json

    with connected_to(scheduler) as service:
        job = service.job(id)
        view, trace, marks = job.view, job.trace(), job.marks()
        if as_json:
            print_json(_document(job, view, trace, marks))
            return
    from dask_em.cli.jobs.tables import facts_table, passes_table, print_table

    print_table(facts_table(_facts(view, trace)))
    for mark in marks[-SHOWN:]:
        print(_told(mark))
    if trace:
        print_table(passes_table(trace[-SHOWN:]))
    if view.error is not None and view.state == "failed":
        print(view.error)
    print(f"next: {again(f'dask-em {_next(view)} {view.id}', scheduler)}")


def _facts(view: JobView, trace: list[PassView]) -> dict[str, RenderableType]:
    from rich.text import Text

    from dask_em.cli.jobs.sparkline import sparkline
    from dask_em.cli.jobs.words import ENDED, STYLES, clock, ending, nats, passes, state

    ended = view.state in ENDED
    stands = ending(view) if ended else state(view, time.time())
    curve = sparkline([one.objective for one in trace if one.kind == "em"], WIDTH)
    told: dict[str, Text | str] = {
        "job": Text(view.id, "bold"),
        "task": f"{view.task} of {view.what}",
        "data": Text(view.data),
        "output": Text(view.output or ""),
        "state": Text(stands, STYLES.get(view.state, "")),
        "passes": "" if ended else passes(view),
        "log-lik.": Text(f"{curve} {nats(view.objective)} per row") if curve else "",
        "weights": ", ".join(f"{weight:.4f}" for weight in view.weights),
        "owner": Text(view.owner),
        "tags": Text(", ".join(f"{name}={value}" for name, value in view.tags.items())),
        "priority": str(view.priority) if view.priority else "",
        "submitted": clock(view.submitted),
        "worker": view.worker or "",
        "restarts": f"{view.restarts:,}" if view.restarts else "",
        "lately": Text(view.error.strip().splitlines()[-1]) if view.error and not ended else "",
        "token": view.token,
    }
    return {subject: words for subject, words in told.items() if words}


def _told(mark: Mark) -> str:
    from dask_em.cli.jobs.words import clock

    return f"{clock(mark.at)} after pass {mark.number}, {mark.kind}: {mark.text}"


def _next(view: JobView) -> str:
    return {"done": "result", "failed": "logs", "cancelled": "resume"}.get(view.state, "watch")


def _document(
    job: Job, view: JobView, trace: list[PassView], marks: list[Mark]
) -> dict[str, object]:
    return {
        **view.told(),
        "spec": job.spec(),
        "trace": [one.told() for one in trace],
        "marks": [mark.told() for mark in marks],
    }
