"""What there is to say of a job, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dask_em.cli.text import count, plural

if TYPE_CHECKING:
    from dask_em.service.view import JobView, PassView

__all__ = [
    "ENDED",
    "STYLES",
    "age",
    "clock",
    "ending",
    "failure",
    "nats",
    "notes",
    "pass_name",
    "passes",
    "rate",
    "said",
    "state",
]

#: states in which nothing happens to a job any more
ENDED = ("done", "failed", "cancelled")
#: colours, by state
STYLES = {
    "queued": "yellow",
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "cancelled": "dim",
}


def age(seconds: float) -> str:
    """A span of time in the unit that reads best, e.g. ``"3 min"``."""
    for unit, length, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{max(0, int(seconds // length))} {unit}"
    return f"{int(seconds // 86_400)} d"


def clock(at: float) -> str:
    """A moment in UTC, given in seconds since 1970."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%SZ}"


def said(view: JobView) -> str:
    """What a job is, and of which rows."""
    return f"{view.task} of {view.what}, {view.data}"


def state(view: JobView, now: float) -> str:
    """Where a job stands, and what it waits for."""
    if view.state == "running":
        return f"running, {view.doing}" if view.doing else "running"
    if view.state != "queued":
        return view.state
    if view.not_before > now:
        return f"queued, tried again in {age(view.not_before - now + 1)}"
    return "queued" if view.position is None else f"queued, place {view.position}"


def passes(view: JobView) -> str:
    """How many passes there were, of how many at most."""
    most = "" if view.max_passes is None or view.state in ENDED else f" of {view.max_passes:,}"
    return f"{view.passes:,}{most}"


def nats(value: float | None) -> str:
    """A log-likelihood per row."""
    return "" if value is None else f"{value:.9f}"


def pass_name(one: PassView) -> str:
    """What a pass is called where others are listed."""
    return {"first": "sample", "em": str(one.number)}.get(one.kind, one.kind)


def notes(one: PassView) -> str:
    """What there is to remark on a pass."""
    step = [one.step] if one.step not in (None, "start", "em") else []
    return "; ".join(map(str, [*step, *one.notes]))


def rate(one: PassView) -> str:
    """How fast a pass went, and what its threads spent their time on."""
    spent = ", ".join(
        f"{seconds / one.seconds:.0%} {doing}"
        for doing, seconds in {
            "reading": one.read_seconds,
            "computing": one.compute_seconds,
            "waiting": one.wait_seconds,
        }.items()
        if one.seconds
    )
    return (
        f"{count(one.rows_per_second)} rows/s, {one.bytes_per_second / 1e6:,.0f} MB/s"
        f"{f'; {spent}' if spent else ''}"
    )


def ending(view: JobView) -> str:
    """How a job ended, and where that got it."""
    begun = view.submitted if view.started is None else view.started
    taken = "" if view.ended is None else f" in {age(view.ended - begun)}"
    reached = "" if view.objective is None else f"; log-likelihood {nats(view.objective)} per row"
    lost = "" if not view.restarts else f"; restarted {plural(view.restarts, 'time')}"
    return f"{view.state} after {plural(view.passes, 'pass', 'passes')}{taken}{lost}{reached}"


def failure(view: JobView) -> str:
    """What ended a job in one line: the last of a traceback says it."""
    lines = (view.error or "it does not say why").strip().splitlines()
    return lines[-1]
