"""Panel: one part of the page, and what the plots among them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from bokeh.models import BasicTicker
from bokeh.plotting import figure

if TYPE_CHECKING:
    from bokeh.models.renderers import Renderer
    from bokeh.models.ui import UIElement

    from dask_em.dashboard.watch import Watch

__all__ = ["TIP", "Panel", "few", "plot", "see"]

#: of all hover texts, as Dask has them
TIP = (
    '<div style="font-size: 10px; font-family: Monaco, monospace; white-space: pre-wrap;'
    ' max-width: 420px">{}</div>'
)
MOST_SEEN = 200  # passes


class Panel(ABC):
    """One part of the page: a model of Bokeh, and how to bring it up to date.

    Attributes
    ----------
    root : UIElement
    """

    root: UIElement

    @abstractmethod
    def show(self, watch: Watch) -> None:
        """Send what changed, and nothing if nothing did."""


def plot(title: str, **looks: Any) -> figure:
    """An empty plot, of which the tools are seen when the pointer is over it."""
    drawn = figure(
        title=title,
        tools="pan,box_zoom,xwheel_zoom,reset",
        active_drag="box_zoom",
        toolbar_location="above",
        **looks,
    )
    drawn.toolbar.autohide = True
    drawn.xaxis.ticker = BasicTicker(min_interval=1)  # passes and components are whole
    return drawn


def few(watch: Watch) -> bool:
    """Whether so few passes are drawn that each can be seen."""
    return len(watch.passes.source.data["number"]) <= MOST_SEEN


def see(part: Renderer, whether: bool) -> None:
    """Have a part of a plot seen, or not."""
    if part.visible != whether:
        part.visible = whether
