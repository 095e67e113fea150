"""What the passes of the job that is shown cost: seconds, and rows and bytes per second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from bokeh.models import (
    AdaptiveTicker,
    CustomJSTickFormatter,
    DataRange1d,
    HoverTool,
    NumeralTickFormatter,
)
from bokeh.models.annotations import Legend

from dask_em.dashboard.colours import PARTS, SHOWN
from dask_em.dashboard.panel import TIP, Panel, plot

if TYPE_CHECKING:
    from bokeh.plotting import figure

    from dask_em.dashboard.watch import Watch

__all__ = ["BytesPerSecond", "RowsPerSecond", "SecondsPerPass"]

_PARTS = TIP.format(
    "pass @number{0}: @seconds{0.00} s\n"
    "reading   @reading{0.00} s\n"
    "computing @computing{0.00} s\n"
    "waiting   @waiting{0.00} s\n"
    "between   @between{0.00} s, in memory, before the next pass"
)
_THOUSANDS = """
const units = ['', ' k', ' M', ' G', ' T']
let i = 0, x = tick
while (Math.abs(x) >= 1000 && i < 4) { x /= 1000; i++ }
return Number(x.toPrecision(4)) + units[i]
"""


@final
class SecondsPerPass(Panel):
    """Seconds of each pass: reading, computing, waiting, and what comes before the next pass."""

    def __init__(self, watch: Watch, **sizes: Any) -> None:
        self.figure = self.root = plot("Seconds per pass", y_range=DataRange1d(start=0), **sizes)
        self.bars = self.figure.vbar_stack(
            list(PARTS),
            x="number",
            width="width",
            source=watch.passes.source,
            color=list(PARTS.values()),
            line_color=None,
            legend_label=list(PARTS),
        )
        self.figure.add_tools(HoverTool(renderers=[*self.bars], tooltips=_PARTS))
        _lay_legend(self.figure.legend[0])

    def show(self, watch: Watch) -> None:
        """Its passes are sent once for all plots."""


@final
class RowsPerSecond(Panel):
    """Rows per second of each pass."""

    def __init__(self, watch: Watch, **sizes: Any) -> None:
        tip = "pass @number{0}: @rows_per_second{0,0} rows / s"
        self.figure = self.root = _rate(watch, "Rows per second", "rows_per_second", tip, sizes)
        self.figure.yaxis.formatter = CustomJSTickFormatter(code=_THOUSANDS)

    def show(self, watch: Watch) -> None:
        """Its passes are sent once for all plots."""


@final
class BytesPerSecond(Panel):
    """Bytes per second of each pass, as they are read and decoded."""

    def __init__(self, watch: Watch, **sizes: Any) -> None:
        tip = "pass @number{0}: @bytes_per_second{0.00 b} / s"
        self.figure = self.root = _rate(watch, "Bytes per second", "bytes_per_second", tip, sizes)
        self.figure.yaxis.formatter = NumeralTickFormatter(format="0.[0] b")
        self.figure.yaxis.ticker = AdaptiveTicker(base=1024, mantissas=[2**i for i in range(10)])

    def show(self, watch: Watch) -> None:
        """Its passes are sent once for all plots."""


def _lay_legend(legend: Legend) -> None:
    """In one row that covers little: the first pass is the longest, and the right is free."""
    legend.update(
        orientation="horizontal",
        location="top_right",
        background_fill_alpha=0.7,
        border_line_color=None,
        label_text_font_size="11px",
        padding=2,
        margin=2,
        spacing=6,
        label_standoff=3,
        glyph_width=14,
        glyph_height=14,
    )


def _rate(
    watch: Watch,
    title: str,
    column: str,
    tip: str,
    sizes: dict[str, Any],
) -> figure:
    """A curve of a rate that begins at nought."""
    drawn = plot(title, y_range=DataRange1d(start=0), **sizes)
    source = watch.passes.source
    line = drawn.line("number", column, source=source, color=SHOWN, line_width=2)
    drawn.scatter("number", column, source=source, color=SHOWN, size=4)
    hover = HoverTool(renderers=[line], tooltips=TIP.format(tip), mode="vline")
    hover.line_policy = "nearest"
    drawn.add_tools(hover)
    return drawn
