"""Jobs, and the passes of one, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dask_em.cli.jobs.words import STYLES, age, nats, notes, pass_name, passes, state
from dask_em.cli.text import count

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from dask_em.service.view import JobView, PassView

__all__ = ["facts_table", "jobs_table", "passes_table", "print_table"]

#: columns of a table that is not printed on a terminal: no line of it is broken
UNBROKEN = 1000


def jobs_table(views: Sequence[JobView], now: float) -> Table:
    """A line for each job."""
    from rich.text import Text

    table = _table("job", "what", "state", "passes", "log-likelihood/row", "age", "owner")
    table.columns[0].no_wrap = True
    table.columns[0].min_width = max((len(view.id) for view in views), default=0)
    for column in (3, 4, 5):
        table.columns[column].justify = "right"
        table.columns[column].no_wrap = True
    for view in views:
        cells = (
            Text(view.id, "bold"),
            Text(f"{view.task} {view.what}"),
            Text(state(view, now), STYLES.get(view.state, "")),
            Text(passes(view)),
            Text(nats(view.objective)),
            Text(age(now - view.submitted)),
            Text(view.owner),
        )
        table.add_row(*cells)
    return table


def passes_table(trace: Sequence[PassView]) -> Table:
    """A line for each pass, as those of `dask-em fit`."""
    from rich.text import Text

    headings = (
        "pass", "log-likelihood/row", "gain", "to optimum", "seconds", "rows/s", "MB/s", "",
    )  # fmt: skip
    table = _table(*headings)
    for column in table.columns[:-1]:
        column.justify = "right"
        column.no_wrap = True
    for one in trace:
        table.add_row(
            pass_name(one),
            nats(one.objective),
            "" if one.gain is None else f"{one.gain:+.3e}",
            "" if one.gap is None else f"{one.gap:.2e}",
            f"{one.seconds:.2f}",
            count(one.rows_per_second),
            f"{one.bytes_per_second / 1e6:,.0f}",
            Text(notes(one)),
        )
    return table


def facts_table(facts: dict[str, RenderableType]) -> Table:
    """What is said of one thing, by subject."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for subject, told in facts.items():
        # an address with brackets is no markup
        table.add_row(subject, Text(told) if isinstance(told, str) else told)
    return table


def print_table(table: Table) -> None:
    """A table on stdout, as wide as it is unless that is a terminal."""
    from dask_em.cli.text import result_console

    console = result_console()
    if not console.is_terminal:
        console.width = UNBROKEN
    console.print(table)


def _table(*headings: str) -> Table:
    from rich.table import Table

    return Table(*headings, box=None, padding=(0, 2, 0, 0), pad_edge=False)
