"""How many jobs there are, and more of the one that is shown."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, final

from bokeh.models.widgets.markups import Div

from dask_em.dashboard.colours import STATES
from dask_em.dashboard.panel import Panel

if TYPE_CHECKING:
    from dask_em.dashboard.watch import Watch
    from dask_em.service.view import JobView

__all__ = ["Counts", "Details"]

LONGEST_ERROR = 1000  # characters


@final
class Counts(Panel):
    """How many jobs run, wait and have ended."""

    def __init__(self, watch: Watch, **sizes: Any) -> None:
        self.div = self.root = Div(text="", **sizes)

    def show(self, watch: Watch) -> None:
        counts = watch.feed.n_jobs
        told = [f"{_dot(state)} {counts[state]} {state}" for state in STATES if state in counts]
        hidden = sum(counts.values()) - len(watch.feed.rows)
        if hidden:
            told.append(f"the {hidden} that ended longest ago are not listed")
        _say(self.div, f"<b>Jobs</b> &emsp; {' &emsp; '.join(told)}")


@final
class Details(Panel):
    """What the job that is shown reads and makes, its error, and how to cancel it."""

    def __init__(self, watch: Watch, **sizes: Any) -> None:
        self.div = self.root = Div(text="", **sizes)

    def show(self, watch: Watch) -> None:
        _say(self.div, "" if watch.job is None else _told(watch.job))


def _told(job: JobView) -> str:
    """A line on a job, and its error on further ones."""
    parts = [
        f"{_dot(job.state)} <b>{escape(job.id)}</b> &ensp; {escape(job.what)}",
        f"reads {_code(job.data)}",
        f"writes {_code(job.output)}" if job.output else "",
        f"driven by {_code(job.worker)}" if job.worker and job.state == "running" else "",
        ", ".join(f"{escape(key)}={escape(value)}" for key, value in job.tags.items()),
        _remedy(job),
    ]
    error = job.error or ""
    if len(error) > LONGEST_ERROR:
        error = "..." + error[-LONGEST_ERROR:]
    lines = [" &emsp; ".join(part for part in parts if part)]
    if error and job.state != "done":
        lines.append(
            '<pre style="margin: 4px 0 0; white-space: pre-wrap; max-height: 8em; overflow: auto;'
            f' color: {STATES["failed"]}">{escape(error)}</pre>'
        )
    return "".join(lines)


def _remedy(job: JobView) -> str:
    if job.state in ("queued", "running"):
        return f"to cancel it: {_code(f'dask-em cancel {job.id}')}"
    if job.state in ("failed", "cancelled"):
        return f"to go on from its checkpoint: {_code(f'dask-em resume {job.id}')}"
    return f"to get its model: {_code(f'dask-em result {job.id}')}" if job.task != "predict" else ""


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _dot(state: str) -> str:
    return f'<span style="color: {STATES.get(state, "inherit")}">&#9679;</span>'


def _say(div: Div, text: str) -> None:
    if div.text != text:
        div.text = text
