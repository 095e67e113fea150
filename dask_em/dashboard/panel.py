"""Panel: one part of the page, and what the plots among them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from bokeh.plotting import figure

if TYPE_CHECKING:
    from bokeh.models.ui import UIElement

    from dask_em.dashboard.watch import Watch

__all__ = ["TIP", "Panel", "plot"]

#: of all hover texts, as Dask has them
TIP = '<span style="font-size: 10px; font-family: Monaco, monospace; white-space: pre">{}</span>'


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
    return drawn
