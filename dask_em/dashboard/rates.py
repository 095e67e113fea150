"""How much of the data passes through in a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from bokeh.models import (
    AdaptiveTicker,
    CustomJSTickFormatter,
    DataRange1d,
    HoverTool,
    NumeralTickFormatter,
)

from dask_em.dashboard.colours import SHOWN
from dask_em.dashboard.panel import TIP, Panel, few, plot, see

if TYPE_CHECKING:
    from dask_em.dashboard.watch import Watch

__all__ = ["Rate", "bytes_per_second", "rows_per_second"]

_THOUSANDS = """
const units = ['', ' k', ' M', ' G', ' T']
let i = 0, x = tick
while (Math.abs(x) >= 1000 && i < 4) { x /= 1000; i++ }
return Number(x.toPrecision(4)) + units[i]
"""


@final
class Rate(Panel):
    """A curve of a rate, from nought."""

    def __init__(self, watch: Watch, title: str, column: str, tip: str, **sizes: Any) -> None:
        self.figure = self.root = plot(title, y_range=DataRange1d(start=0), **sizes)
        source = watch.passes.source
        line = self.figure.line("number", column, source=source, color=SHOWN, line_width=1.5)
        self.points = self.figure.scatter("number", column, source=source, color=SHOWN, size=4)
        self.figure.add_tools(
            HoverTool(
                renderers=[line], tooltips=TIP.format(tip), mode="vline", line_policy="nearest"
            )
        )

    def show(self, watch: Watch) -> None:
        """Leave out the points where they would blur; the passes are sent once for all plots."""
        see(self.points, few(watch))


def rows_per_second(watch: Watch, **sizes: Any) -> Rate:
    """Rows per second of each pass."""
    tip = "pass @number{0}: @rows_per_second{0,0} rows / s"
    rate = Rate(watch, "Rows per second", "rows_per_second", tip, **sizes)
    rate.figure.yaxis.formatter = CustomJSTickFormatter(code=_THOUSANDS)
    return rate


def bytes_per_second(watch: Watch, **sizes: Any) -> Rate:
    """Bytes per second of each pass, as they are read and decoded."""
    tip = "pass @number{0}: @bytes_per_second{0.00 b} / s"
    rate = Rate(watch, "Bytes per second", "bytes_per_second", tip, **sizes)
    rate.figure.yaxis.formatter = NumeralTickFormatter(format="0.[0] b")
    rate.figure.yaxis.ticker = AdaptiveTicker(base=1024, mantissas=[2**i for i in range(10)])
    return rate
