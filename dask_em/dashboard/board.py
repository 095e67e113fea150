"""Board: panels that look at one job, as a component of Dask's dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from bokeh.core.properties import without_property_validation
from bokeh.layouts import column
from bokeh.models.widgets.markups import Div
from distributed.dashboard.components import DashboardComponent
from distributed.utils import log_errors

from dask_em.dashboard.notice import NOTICE_STYLE, notice
from dask_em.dashboard.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from bokeh.models.ui import UIElement
    from distributed import Scheduler

    from dask_em.dashboard.panel import Panel

__all__ = ["Board"]


@final
class Board(DashboardComponent):
    """Panels, or in their place the reason why there is nothing to show.

    Parameters
    ----------
    scheduler : Scheduler
    arranged : function
        Gives the panels that look at a `Watch`, and the one model that holds theirs.
    sizing_mode : str
        How the board fills its window, as Bokeh has it.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        arranged: Callable[[Watch], tuple[list[Panel], UIElement]],
        sizing_mode: Any = "stretch_both",
    ) -> None:
        self.watch = Watch(scheduler)
        self.panels, self.content = arranged(self.watch)
        self.notice = Div(text="", styles=NOTICE_STYLE, visible=False)
        self.root = column(self.notice, self.content, sizing_mode=sizing_mode)

    @log_errors
    @without_property_validation  # type: ignore[untyped-decorator]
    def update(self) -> None:
        """Send what changed since the last time."""
        if not self.watch.look():
            return
        self._notify(notice(self.watch))
        for panel in self.panels:
            panel.show(self.watch)

    def _notify(self, text: str) -> None:
        """Show a notice in place of the panels, or the panels if there is none."""
        if self.notice.text != text:
            self.notice.text = text
        if self.notice.visible != bool(text):
            self.notice.visible = bool(text)
            self.content.visible = not text
