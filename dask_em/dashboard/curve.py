"""The curve of the log-likelihood."""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, final

from bokeh.models import ColumnDataSource, CustomJSHover, DataRange1d, HoverTool

from dask_em.dashboard.colours import MARKS, OTHER_MARK, SHOWN
from dask_em.dashboard.panel import TIP, Panel, few, plot, see

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
    "step    @step"
)
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
        self._marked: tuple[object, ...] = ()
        self.others = ColumnDataSource({"numbers": [], "objectives": [], "id": [], "what": []})
        self.marks = ColumnDataSource(_marked([], []))
        self.passes = DataRange1d(default_span=4, min_interval=1)
        self.nats = DataRange1d(default_span=1e-3)
        self.figure = self.root = plot(
            "Log-likelihood (nats per row)", x_range=self.passes, y_range=self.nats, **sizes
        )
        self._draw(watch)

    def _draw(self, watch: Watch) -> None:
        others = self.figure.multi_line(
            "numbers", "objectives", source=self.others, color="#a0a0a0", alpha=0.6, line_width=1
        )
        self.line = self.figure.line(
            "number", "objective", source=watch.passes.source, color=SHOWN, line_width=2
        )
        self.points = self.figure.scatter(
            "number", "objective", source=watch.passes.source, color=SHOWN, size=4
        )
        marks = self.figure.scatter(
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
        self._explain(marks, others)

    def _explain(self, marks: GlyphRenderer[Any], others: GlyphRenderer[Any]) -> None:
        plain, small = CustomJSHover(code=_PLAIN), CustomJSHover(code=_SMALL)
        self.figure.add_tools(
            HoverTool(
                renderers=[self.line],
                tooltips=_POINT,
                formatters={"@objective": plain, "@gain": small, "@gap": small},
                mode="vline",
                line_policy="nearest",
            ),
            HoverTool(renderers=[marks], tooltips=TIP.format("@kind after pass @number: @text")),
            HoverTool(renderers=[others], tooltips=TIP.format("@id: @what")),
        )

    def show(self, watch: Watch) -> None:
        see(self.points, few(watch))
        self._show_marks(watch)
        self._show_others(watch)

    def _show_marks(self, watch: Watch) -> None:
        marks: list[Mark] = []
        if watch.reporter is not None and watch.job is not None:
            marks = watch.reporter.marks(watch.job.id)[-MOST_MARKS:]
        marked = watch.job and watch.job.id, marks
        if marked == self._marked:
            return
        data = watch.passes.source.data
        heights = [_height(data["number"], data["objective"], mark.number) for mark in marks]
        self.marks.data = _marked(marks, heights)
        self.figure.legend.visible = bool(marks)
        # a mark may be older than the first pass that it could stand at: then it is placed again
        self._marked = marked if all(map(math.isfinite, heights)) else ()

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
        "text": [mark.text for mark in marks],
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


def _height(numbers: Any, objectives: Any, number: int) -> float:
    """Where on the curve something is marked: at the last pass before it, or at the first one."""
    before = bisect_right(numbers, number)
    for i in (*range(before - 1, -1, -1), *range(before, len(objectives))):
        if math.isfinite(objectives[i]):
            return float(objectives[i])
    return math.nan
