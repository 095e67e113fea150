"""Colours of the page."""

from __future__ import annotations

__all__ = ["MARKS", "OTHER_MARK", "PARTS", "SHOWN", "STATES"]

STATES = {
    "running": "#3182bd",
    "queued": "#e6a23c",
    "done": "#31a354",
    "failed": "#de2d26",
    "cancelled": "#969696",
}
SHOWN = "#31688e"  # of the job that is shown; blue and green of viridis, as Dask's own pages
PARTS = {
    "reading": "#31688e",
    "computing": "#35b779",
    "waiting": "#c8c8c8",
    "between": "#e6a23c",
}
#: shape, size in pixels and colour of what befell a job; one that was lost is often resumed at the
#: same pass, so that mark is a ring around the other
MARKS = {
    "lost": ("x", 10, "#de2d26"),
    "resumed": ("circle", 18, "#31a354"),
    "repair": ("diamond", 14, "#e6a23c"),
    "skipped": ("square", 9, "#9e4fa8"),
}
OTHER_MARK = ("circle", 8, "#969696")
