"""The weights of the components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from bokeh.models import ColumnDataSource, DataRange1d, HoverTool, NumeralTickFormatter

from dask_em.dashboard.colours import SHOWN
from dask_em.dashboard.panel import TIP, Panel, plot

if TYPE_CHECKING:
    from dask_em.dashboard.watch import Watch

__all__ = ["Weights"]


@final
class Weights(Panel):
    """The weights of the components of the job that is shown, in the order of the model."""

    def __init__(self, watch: Watch, **sizes: Any) -> None:
        self.source = ColumnDataSource({"component": [], "weight": []})
        self.figure = self.root = plot(
            "Weights of the components", y_range=DataRange1d(start=0), **sizes
        )
        bars = self.figure.vbar(
            "component", top="weight", width=0.85, source=self.source, color=SHOWN, line_color=None
        )
        tip = TIP.format("component @component: @weight{0.00 %}")
        self.figure.add_tools(HoverTool(renderers=[bars], tooltips=tip))
        self.figure.xgrid.visible = False
        self.figure.yaxis.formatter = NumeralTickFormatter(format="0.[00] %")

    def show(self, watch: Watch) -> None:
        weights = list(watch.job.weights) if watch.job else []
        if weights != self.source.data["weight"]:
            self.source.data = {"component": list(range(len(weights))), "weight": weights}
        if self.figure.visible != bool(weights):
            self.figure.visible = bool(weights)  # the curve takes the room
