"""The documents of the page "Em" and of its panels one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from bokeh.layouts import column, row
from distributed.dashboard.components import add_periodic_callback
from distributed.dashboard.components.scheduler import BOKEH_THEME, env, individual_doc

from dask_em.dashboard.board import Board
from dask_em.dashboard.curve import LogLikelihood
from dask_em.dashboard.details import Counts, Details
from dask_em.dashboard.jobs import Jobs
from dask_em.dashboard.rates import bytes_per_second, rows_per_second
from dask_em.dashboard.seconds import SecondsPerPass
from dask_em.dashboard.weights import Weights

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.model import Model
    from bokeh.models.ui import UIElement
    from distributed import Scheduler

    from dask_em.dashboard.panel import Panel
    from dask_em.dashboard.watch import Watch

__all__ = ["DOCUMENTS", "INTERVAL"]

INTERVAL = 1000  # milliseconds between updates
# with one more tab the bar takes two rows where the window is that wide
_TEMPLATE = """
{% extends "simple.html" %}
{% block extra_resources %}
<style>
@media (min-width: 801px) and (max-width: 990px) { body { padding-top: 6rem } }
</style>
{% endblock %}
"""
#: what makes a document of a scheduler, of what all its pages share, and of an empty document
Maker: TypeAlias = Callable[["Scheduler", dict[str, Any], "Document"], None]


def whole(watch: Watch) -> tuple[list[Panel], UIElement]:
    """The panels of the page, arranged."""
    wide: dict[str, Any] = {"sizing_mode": "stretch_width"}
    both: dict[str, Any] = {"sizing_mode": "stretch_both", "min_height": 210}
    counts = Counts(watch, **wide)
    jobs = Jobs(watch, **wide, height=230)
    details = Details(watch, **wide)
    curve = LogLikelihood(watch, **both, styles={"flex": "2 1 0"})
    weights = Weights(watch, **both, styles={"flex": "1 1 0"})
    seconds = SecondsPerPass(watch, **both)
    rows = rows_per_second(watch, **both)
    nbytes = bytes_per_second(watch, **both)
    # the first pass, of moments, has bars but no log-likelihood
    curve.passes.renderers = [curve.line, *seconds.bars]
    for panel in (seconds, rows, nbytes):
        panel.figure.x_range = curve.passes
    content = column(
        counts.root,
        jobs.root,
        details.root,
        row(curve.root, weights.root, **both),
        row(seconds.root, rows.root, nbytes.root, **both),
        sizing_mode="stretch_both",
        min_height=720,
    )
    return [counts, jobs, details, curve, weights, seconds, rows, nbytes], content


def alone(panel: Callable[..., Panel], watch: Watch) -> tuple[list[Panel], UIElement]:
    """One panel that fills its window."""
    shown = panel(watch, sizing_mode="stretch_both")
    return [shown], shown.root


def em_doc(scheduler: Scheduler, extra: dict[str, Any], doc: Document) -> None:
    """The page."""
    board = Board(scheduler, whole)
    board.update()
    add_periodic_callback(doc, board, INTERVAL)
    doc.add_root(cast("Model", board.root))
    doc.title = "Dask: Em"
    doc.template = env.from_string(_TEMPLATE)
    doc.template_variables.update(extra)
    doc.theme = BOKEH_THEME


def _individual(title: str, panel: Callable[..., Panel]) -> Maker:
    """The document of one panel."""

    def document(scheduler: Scheduler, extra: dict[str, Any], doc: Document) -> None:
        component = partial(Board, arranged=partial(alone, panel))
        individual_doc(component, INTERVAL, scheduler, extra, doc)
        doc.title = f"Dask: Em {title}"

    return document


#: by path; Dask makes the names in its lists of them
DOCUMENTS: dict[str, Maker] = {
    "/em": em_doc,
    "/individual-em-jobs": _individual("Jobs", Jobs),
    "/individual-em-log-likelihood": _individual("Log-likelihood", LogLikelihood),
    "/individual-em-seconds-per-pass": _individual("Seconds per pass", SecondsPerPass),
    "/individual-em-rows-per-second": _individual("Rows per second", rows_per_second),
    "/individual-em-bytes-per-second": _individual("Bytes per second", bytes_per_second),
    "/individual-em-weights": _individual("Weights", Weights),
}
