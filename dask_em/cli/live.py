"""The progress of passes: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dask_em.cli.text import count, fixed, plural
from dask_em.engine.monitor import Monitor, PassRecord

if TYPE_CHECKING:
    from rich.console import Console

    from dask_em.service.view import PassView

__all__ = ["HEADER", "Progress", "pass_line", "show_progress"]

HEADER = (
    f"{'pass':>6}  {'log-likelihood/row':>18}  {'gain':>11}  {'to optimum':>10}  {'seconds':>8}  "
    f"{'rows/s':>8}  "
    f"{'MB/s':>7}"
)
#: what a pass of some kind is called while it goes on
DOING = {"first": "first look", "predict": "predicting", "write": "writing"}


class Progress(Monitor):
    """Prints a line for each pass that has ended."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._kernel: str | None = None
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to close."""

    def say(self, text: str) -> None:
        """Print a permanent line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def end(self, record: PassRecord) -> None:
        if not self._begun:
            self.say(HEADER)
        self.say(self._line(record))
        self._begun = True

    def _line(self, record: PassRecord) -> str:
        name = "sample" if record.kind == "first" else str(record.iteration + 1)
        return pass_line(name, record, self._notes(record))

    def _notes(self, record: PassRecord) -> str:
        notes = [repair.words for repair in record.repairs]
        if record.step not in (None, "start", "em"):
            notes.insert(0, str(record.step))
        if record.kernel is not None and record.kernel != self._kernel:
            notes.insert(0, f"{record.kernel} kernel")
            self._kernel = record.kernel
        if not self._begun:  # the same in every pass
            notes += [f"{record.dropped:,} rows with NaN left out"] if record.dropped else []
            notes += [f"{record.incomplete:,} rows with gaps"] if record.incomplete else []
            notes += [f"{record.empty:,} all NaN"] if record.empty else []
        if record.bad_chunks:
            notes.append(f"{plural(record.bad_chunks, 'unreadable chunk')} skipped")
        return "; ".join(notes)


class LiveProgress(Progress):
    """A bar for the pass that goes on, below the lines of those that have ended."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as Bars

        super().__init__(console)
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn("tasks"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task: Any = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
        self._replace(DOING.get(kind, f"pass {iteration + 1}"), n_tasks)

    def advance(self) -> None:
        if self._task is not None:
            self._bars.advance(self._task)

    def end(self, record: PassRecord) -> None:
        super().end(record)
        self._replace("starting on the sample" if record.kind == "first" else "next", None)

    def _replace(self, doing: str, n_tasks: int | None) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(doing, total=n_tasks)


def show_progress(console: Console) -> Progress:
    """A live bar if somebody looks at a terminal, otherwise plain lines."""
    return LiveProgress(console) if console.is_terminal else Progress(console)


def pass_line(name: str, record: PassRecord | PassView, notes: str) -> str:
    """A pass as it stands below `HEADER`."""
    return (
        f"{name:>6}  {fixed(record.objective, 18, '.9f')}  {fixed(record.gain, 11, '+.3e')}  "
        f"{fixed(record.gap, 10, '.2e')}  {record.seconds:8.2f}  "
        f"{count(record.rows_per_second):>8}  "
        f"{record.bytes_per_second / 1e6:7,.0f}{'  ' if notes else ''}{notes}"
    )
