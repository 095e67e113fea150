"""What somebody sees who watches a job: a screen that is redrawn, or lines where there is none."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dask_em.cli.jobs.words import (
    ENDED,
    STYLES,
    age,
    clock,
    nats,
    notes,
    pass_name,
    passes,
    rate,
    said,
    state,
)
from dask_em.cli.live import HEADER, pass_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from dask_em.cli.jobs.follow import News
    from dask_em.service.view import JobView, PassView

__all__ = ["Lines", "Screen", "Watching", "watching"]

#: points of a curve, and bars of a pass
WIDTH = 40
#: passes that are kept for the curve
KEPT = 2000
#: lines of a screen that are no passes
OTHERS = 13


class Watching(ABC):
    """Shows what is new of a job."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    @abstractmethod
    def see(self, news: News) -> None:
        """Show it."""


class Lines(Watching):
    """A line for each pass that has ended, and for what befell the job."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._stood: tuple[object, ...] | None = None
        self._headed = False

    def see(self, news: News) -> None:
        self._tell(news.view)
        for mark in news.marks:
            self._say(f"{clock(mark.at)} {mark.kind}: {mark.text}")
        for one in news.passes:
            if not self._headed:
                self._say(HEADER)
                self._headed = True
            self._say(pass_line(pass_name(one), one, notes(one)))

    def _tell(self, view: JobView) -> None:
        stands = (view.state, view.epoch, view.not_before)
        if stands == self._stood or view.state in ENDED:  # how it ended is told by the command
            return
        place = f", on {view.worker}" if view.worker and view.state == "running" else ""
        what = f": {said(view)}" if self._stood is None else ""
        self._say(f"{view.id} {state(view, time.time())}{place}{what}")
        self._stood = stands

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class Screen(Watching):
    """A table that is redrawn, with the curve of the log-likelihood and the pass that goes on."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        super().__init__(console)
        self._view: JobView | None = None
        self._passes: deque[PassView] = deque(maxlen=KEPT)
        self._befell = ""
        self._live = Live(get_renderable=self.drawn, console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def see(self, news: News) -> None:
        self._view = news.view
        self._passes.extend(news.passes)
        if news.marks:
            last = news.marks[-1]
            self._befell = f"{clock(last.at)} {last.kind}: {last.text}"

    def drawn(self) -> RenderableType:
        """The screen as it is now."""
        from rich.console import Group

        from dask_em.cli.jobs.tables import facts_table, passes_table

        if self._view is None:
            return ""
        last = list(self._passes)[-max(3, self.console.size.height - OTHERS) :]
        below: list[RenderableType] = ["", passes_table(last)] if last else []
        return Group(facts_table(self._facts(self._view)), *below)

    def _facts(self, view: JobView) -> dict[str, RenderableType]:
        from rich.text import Text

        from dask_em.cli.jobs.sparkline import sparkline

        facts: dict[str, RenderableType] = {
            view.id: Text(f"{view.task} {view.what}", "bold"),
            "data": Text(view.data),
            "state": Text(state(view, time.time()), STYLES.get(view.state, "")),
            "passes": passes(view) if view.started is None else _since(view, view.started),
        }
        curve = sparkline([one.objective for one in self._passes if one.kind == "em"], WIDTH)
        if curve:
            facts["log-lik."] = Text.assemble((curve, "cyan"), f" {nats(view.objective)} per row")
        if view.tasks and view.state == "running":
            facts["pass"] = _bar(view)
        if self._passes:
            facts["rate"] = rate(self._passes[-1])
        if self._befell:
            facts["lately"] = Text(self._befell, "yellow")
        return facts


def watching(console: Console) -> Watching:
    """A screen if somebody looks at a terminal, otherwise lines."""
    return Screen(console) if console.is_terminal else Lines(console)


def _since(view: JobView, started: float) -> str:
    return f"{passes(view)}, after {age((view.ended or time.time()) - started)}"


def _bar(view: JobView) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    line = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=view.tasks, completed=view.tasks_done, width=WIDTH)
    line.add_row(bar, f"{view.tasks_done}/{view.tasks} tasks")
    return line
