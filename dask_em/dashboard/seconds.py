"""The seconds of passes, and what they went into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from bokeh.models import DataRange1d, HoverTool
from bokeh.models.annotations import Legend

from dask_em.dashboard.colours import PARTS
from dask_em.dashboard.panel import TIP, Panel, few, plot, see

if TYPE_CHECKING:
    from dask_em.dashboard.watch import Watch

__all__ = ["SecondsPerPass"]

_TIP = TIP.format(
    "pass @number{0}: @seconds{0.00} s\n"
    "reading   @reading{0.00} s\n"
    "computing @computing{0.00} s\n"
    "waiting   @waiting{0.00} s\n"
    "between   @between{0.00} s, in memory, before the next pass"
)


@final
class SecondsPerPass(Panel):
    """Seconds of each pass: reading, computing, waiting, and what comes before the next pass.

    They are bars, and where there are so many that bars would blur, areas.
    """

    def __init__(self, watch: Watch, **sizes: Any) -> None:
        self.figure = self.root = plot("Seconds per pass", y_range=DataRange1d(start=0), **sizes)
        drawn: dict[str, Any] = {
            "x": "number",
            "source": watch.passes.source,
            "color": list(PARTS.values()),
        }
        self.bars = self.figure.vbar_stack(
            list(PARTS), width="width", line_color=None, legend_label=list(PARTS), **drawn
        )
        self.areas = self.figure.varea_stack(list(PARTS), **drawn)
        self.edge = self.figure.line("number", "seconds", source=watch.passes.source, alpha=0)
        self.figure.add_tools(
            HoverTool(renderers=[*self.bars], tooltips=_TIP),
            HoverTool(renderers=[self.edge], tooltips=_TIP, mode="vline", line_policy="nearest"),
        )
        _lay(self.figure.legend[0])

    def show(self, watch: Watch) -> None:
        """Choose between bars and areas; the passes are sent once for all plots."""
        for bar in self.bars:
            see(bar, few(watch))
        for area in self.areas:
            see(area, not few(watch))
        see(self.edge, not few(watch))


def _lay(legend: Legend) -> None:
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
