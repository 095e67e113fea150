"""The table of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from bokeh.models import ColumnDataSource, CustomJS
from bokeh.models.widgets.tables import DataTable, HTMLTemplateFormatter, TableColumn

from dask_em.dashboard import formats
from dask_em.dashboard.cells import FIELDS
from dask_em.dashboard.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_em.dashboard.cells import Row
    from dask_em.dashboard.watch import Watch

__all__ = ["Jobs"]

#: field, title, width in pixels where there is room, template
_COLUMNS = (
    ("id", "job", 90, formats.TEXT),
    ("what", "what", 190, formats.WHAT),
    ("state", "state", 85, formats.STATE),
    ("passes", "passes", 170, formats.PROGRESS),
    ("objective", "nats per row", 95, formats.OBJECTIVE),
    ("rows_per_second", "rows / s", 65, formats.RATE),
    ("owner", "owner", 80, formats.TEXT),
    ("submitted", "age", 55, formats.AGE),
    ("restarts", "restarts", 60, formats.COUNT),
    ("note", "note", 230, formats.TEXT),
)
_STYLE = """
.bk-data-table { z-index: 0; }
.slick-row { cursor: pointer; }
.slick-cell.active { border-color: transparent; }
"""  # the menu of the pages drops over the table, and it is rows that are chosen
# Bokeh draws a table anew when rows come or go, and not always when cells change
_REDRAW = "table.view.change.emit()"


@final
class Jobs(Panel):
    """All jobs, and which of them is shown: a click on a row chooses."""

    def __init__(self, watch: Watch, **sizes: Any) -> None:
        self._watch = watch
        self._rows: list[Row] = []
        self.source = ColumnDataSource({field: [] for field in FIELDS})
        self.source.selected.on_change("indices", self._choose)
        table = self.root = DataTable(
            source=self.source,
            columns=[
                TableColumn(
                    field=field,
                    title=title,
                    width=width,
                    formatter=HTMLTemplateFormatter(template=template),
                )
                for field, title, width, template in _COLUMNS
            ],
            index_position=None,
            reorderable=False,
            stylesheets=[_STYLE],
            **sizes,
        )
        redraw = CustomJS(args={"table": table}, code=_REDRAW)
        for change in ("patching", "data"):
            self.source.js_on_change(change, redraw)

    def show(self, watch: Watch) -> None:
        rows = list(watch.feed.rows.values())
        if [row[0] for row in rows] != [row[0] for row in self._rows]:
            self.source.data = dict(zip(FIELDS, _transposed(rows), strict=True))
        else:
            patches = _patches(self._rows, rows)
            if patches:
                self.source.patch(patches)
        self._rows = rows
        self._select()

    def _select(self) -> None:
        job = self._watch.job
        indices = [i for i, row in enumerate(self._rows) if job is not None and row[0] == job.id]
        if self.source.selected.indices != indices:
            self.source.selected.indices = indices

    def _choose(self, attribute: str, old: object, new: list[int]) -> None:
        """Somebody clicked on a row, or the selection followed the job that is shown."""
        chosen = [self._rows[i][0] for i in new if 0 <= i < len(self._rows)]
        shown = self._watch.job
        if chosen != [shown.id] if shown else chosen:
            self._watch.choose(chosen[-1] if chosen else None)


def _transposed(rows: Sequence[Row]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in FIELDS]


def _patches(old: Sequence[Row], new: Sequence[Row]) -> dict[str, list[tuple[int, Any]]]:
    """The cells that changed, by column."""
    patches: dict[str, list[tuple[int, Any]]] = {}
    for i, (before, after) in enumerate(zip(old, new, strict=True)):
        if before is after:
            continue
        for field, was, value in zip(FIELDS, before, after, strict=True):
            unknown = was != was and value != value  # both are NaN
            if was != value and not unknown:
                patches.setdefault(field, []).append((i, value))
    return patches
