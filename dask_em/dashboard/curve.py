"""The curve of the log-likelihood."""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, final

from bokeh.models import ColumnDataSource, CustomJS, CustomJSHover, DataRange1d, HoverTool

from dask_em.dashboard.colours import MARKS, OTHER_MARK, SHOWN
from dask_em.dashboard.panel import TIP, Panel, few, plot, see
from dask_em.dashboard.passes import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bokeh.models.renderers import GlyphRenderer

    from dask_em.dashboard.feed import Sketch
    from dask_em.dashboard.watch import Watch
    from dask_em.service.view import JobView, Mark

__all__ = ["LogLikelihood"]

MOST_OTHERS = 10
MOST_MARKS = 500
_POINT = TIP.format(
    "pass @number{0} (@kind): @objective{custom} nats per row\n"
    "gain    @gain{custom}\n"
    "gap     @gap{custom}\n"
    "seconds @seconds{0.00}\n"
    "step    @step@befell"
)
#: a thin curve under the pointer is named in the title
_NAME = """
const i = cb_data.index.indices[0]
title.text = i == null ? plain : `${plain}, thin: ${others.data.id[i]}, ${others.data.what[i]}`
"""
_TITLE = "Log-likelihood (nats per row)"
#: what is not known is a dash rather than NaN
_PLAIN = "return isFinite(value) ? Number(value.toPrecision(9)).toString() : '-'"
_SMALL = (
    "return !isFinite(value) ? '-'"
    " : value == 0 || Math.abs(value) >= 1e-3 ? value.toPrecision(3) : value.toExponential(2)"
)


@final
class LogLikelihood(Panel):
    """The log-likelihood of the job that is shown, what befell it, and thin curves of others."""

    def __init__(self, watch: Watch, **sizes: Any) -> None:
        self._others: list[Sketch] = []
        self._marked = _marked([], [])
        self.others = ColumnDataSource({"numbers": [], "objectives": [], "id": [], "what": []})
        self.marks = ColumnDataSource(self._marked)
        self.passes = DataRange1d(default_span=4, min_interval=1)
        self.nats = DataRange1d(default_span=1e-3)
        self.figure = self.root = plot(_TITLE, x_range=self.passes, y_range=self.nats, **sizes)
        self._draw(watch)

    def _draw(self, watch: Watch) -> None:
        others = self.figure.multi_line(
            "numbers",
            "objectives",
            source=self.others,
            color="#a0a0a0",
            alpha=0.6,
            line_width=1,
            hover_line_color="#e6a23c",
            hover_line_alpha=1.0,
        )
        self.line = self.figure.line(
            "number", "objective", source=watch.passes.source, color=SHOWN, line_width=2
        )
        self.points = self.figure.scatter(
            "number", "objective", source=watch.passes.source, color=SHOWN, size=4
        )
        self.figure.scatter(
            "number",
            "objective",
            source=self.marks,
            marker="shape",
            size="size",
            line_color="colour",
            line_width=2,
            fill_color="colour",
            fill_alpha=0.3,
            legend_field="kind",
        )
        self.figure.legend.visible = False
        self.figure.legend.location = "bottom_right"
        # other jobs may read other data, whose likelihoods are far away
        self.passes.renderers = self.nats.renderers = [self.line]
        self._explain(others)

    def _explain(self, others: GlyphRenderer[Any]) -> None:
        """One text at a time: two would lie over each other where curves and marks are close."""
        plain, small = CustomJSHover(code=_PLAIN), CustomJSHover(code=_SMALL)
        names = {"title": self.figure.title, "plain": _TITLE, "others": self.others}
        self.figure.add_tools(
            HoverTool(
                renderers=[self.line],
                tooltips=_POINT,
                formatters={"@objective": plain, "@gain": small, "@gap": small},
                mode="vline",
                line_policy="nearest",
            ),
            HoverTool(
                renderers=[others],
                tooltips=None,
                callback=CustomJS(args=names, code=_NAME),
                visible=False,
            ),
        )

    def show(self, watch: Watch) -> None:
        see(self.points, few(watch))
        self._show_marks(watch)
        self._show_others(watch)

    def _show_marks(self, watch: Watch) -> None:
        marks: list[Mark] = []
        if watch.reporter is not None and watch.job is not None:
            marks = watch.reporter.marks(watch.job.id)[-MOST_MARKS:]
        data = watch.passes.source.data
        numbers, objectives = data["number"], data["objective"]
        places = [_place(numbers, objectives, mark.number) for mark in marks]
        if marks or self._marked["number"]:
            watch.passes.tell(_texts(marks, places))
        marked = [(mark, place) for mark, place in zip(marks, places, strict=True) if place >= 0]
        heights = [float(objectives[place]) for _, place in marked]
        drawn = _marked([mark for mark, _ in marked], heights)
        if drawn != self._marked:
            self._marked = drawn
            self.marks.data = drawn
            self.figure.legend.visible = bool(marked)

    def _show_others(self, watch: Watch) -> None:
        reporter = watch.reporter
        jobs = [] if reporter is None else _others(watch)
        sketches = [watch.feed.sketch(reporter, job, watch.now) for job in jobs if reporter]
        if len(sketches) == len(self._others) and all(map(operator.is_, sketches, self._others)):
            return
        self._others = sketches
        self.others.data = {
            "numbers": [sketch.numbers for sketch in sketches],
            "objectives": [sketch.objectives for sketch in sketches],
            "id": [job.id for job in jobs],
            "what": [job.what for job in jobs],
        }


def _marked(marks: Sequence[Mark], heights: Sequence[float]) -> dict[str, list[Any]]:
    """What is drawn of marks."""
    looks = [MARKS.get(mark.kind, OTHER_MARK) for mark in marks]
    return {
        "number": [mark.number for mark in marks],
        "objective": list(heights),
        "kind": [mark.kind for mark in marks],
        "shape": [shape for shape, _, _ in looks],
        "size": [size for _, size, _ in looks],
        "colour": [colour for _, _, colour in looks],
    }


def _others(watch: Watch) -> list[JobView]:
    """Jobs to compare the one that is shown with: on the same data first, the newest first."""
    shown = watch.job
    if shown is None:
        return []
    jobs = [job for job in watch.feed.jobs.values() if job.id != shown.id and job.passes]
    return sorted(jobs, key=lambda job: (job.data != shown.data, -job.submitted))[:MOST_OTHERS]


def _place(numbers: Any, objectives: Any, number: int) -> int:
    """Where something is marked: at the last pass before it with a log-likelihood, or the first.

    -1 if no pass has one.
    """
    before = bisect_right(numbers, number)
    places = (*range(before - 1, -1, -1), *range(before, len(objectives)))
    return next((place for place in places if math.isfinite(objectives[place])), -1)


def _texts(marks: Sequence[Mark], places: Sequence[int]) -> dict[int, str]:
    """What is told of marks at each place."""
    texts: dict[int, str] = {}
    for mark, place in zip(marks, places, strict=True):
        texts[place] = texts.get(place, "") + harmless(f"\n{mark.kind}: {mark.text}")
    return texts
