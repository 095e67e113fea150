"""The passes of the job that a page shows, as its plots draw them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, final

import numpy as np
from bokeh.models import ColumnDataSource

from dask_em.dashboard.thin import picks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_em.dashboard.reporter import Reporter
    from dask_em.service.view import JobView, PassView

__all__ = ["MOST_POINTS", "Passes", "harmless"]

MOST_POINTS = 2000
_ANGLES = str.maketrans("<>", "\u2039\u203a")
#: numbers of a pass, by the name of the column
_NUMBERS = {
    "number": "number",
    "objective": "objective",
    "gain": "gain",
    "gap": "gap",
    "seconds": "seconds",
    "reading": "read_seconds",
    "computing": "compute_seconds",
    "waiting": "wait_seconds",
    "between": "between_seconds",
    "rows_per_second": "rows_per_second",
    "bytes_per_second": "bytes_per_second",
}


@final
class Passes:
    """The passes of one job, added to as they end.

    Attributes
    ----------
    source : ColumnDataSource
        Shared by all plots of a page, so that a pass is sent once.
    """

    def __init__(self) -> None:
        self.source = ColumnDataSource(_columns([]))
        self._job: str | None = None
        self._version = -1
        self._last: PassView | None = None

    def follow(self, reporter: Reporter | None, job: JobView | None) -> None:
        """Show what is new of a job, or another job.

        Parameters
        ----------
        reporter : Reporter, or None
        job : JobView, or None
            None clears the plots.
        """
        if reporter is None or job is None:
            self._replace(None, [])
            return
        if (job.id, job.version) == (self._job, self._version):
            return
        self._version = job.version
        if self._last is None or job.id != self._job:
            self._replace(job.id, reporter.trace(job.id))
        else:
            self._extend(reporter, job.id, self._last)

    def tell(self, befell: dict[int, str]) -> None:
        """Say what befell the job at passes.

        Parameters
        ----------
        befell : dict of str by int
            By the place among the passes that are drawn; nothing befell it at the others.
        """
        known = self.source.data["befell"]
        told = [befell.get(place, "") for place in range(len(known))]
        pairs = enumerate(zip(known, told, strict=True))
        patches = [(place, new) for place, (old, new) in pairs if old != new]
        if patches:
            self.source.patch({"befell": patches})

    def _extend(self, reporter: Reporter, id: str, last: PassView) -> None:
        """Add what came after the last pass, if that is still what it was.

        A driver that was lost may have read passes that do not count, and its successor reads
        them again: then all are told anew.
        """
        told = reporter.trace(id, after=last.number - 1)
        if not told or (told[0].number, told[0].ended) != (last.number, last.ended):
            self._replace(id, reporter.trace(id))
        elif len(self.source.data["number"]) + len(told) - 1 > MOST_POINTS:
            self._replace(id, reporter.trace(id), MOST_POINTS // 2)  # so that this is seldom
        elif told[1:]:
            self.source.stream(_columns(told[1:], before=last.number))
            self._last = told[-1]

    def _replace(
        self,
        id: str | None,
        told: Sequence[PassView],
        most: int = MOST_POINTS,
    ) -> None:
        drawn = [told[i] for i in picks(len(told), most)]
        if drawn or len(self.source.data["number"]):
            columns = _columns(drawn)
            for name in ("width", *_NUMBERS):
                columns[name] = np.asarray(columns[name], dtype=float)  # sent as bytes
            self.source.data = columns
        self._job = id
        self._last = told[-1] if told else None


def _columns(drawn: Sequence[PassView], before: int = 0) -> dict[str, Any]:
    """What the plots need of passes.

    Parameters
    ----------
    drawn : sequence of PassView
    before : int
        Number of the pass that is drawn before the first of these.
    """
    columns: dict[str, Any] = {
        column: [_number(getattr(one, name)) for one in drawn] for column, name in _NUMBERS.items()
    }
    ends = [before, *(one.number for one in drawn)]
    # bars reach to their neighbours where passes between are not drawn
    columns["width"] = [max(1, b - a) * 0.9 for a, b in pairwise(ends)]
    columns["kind"] = [harmless(one.kind) for one in drawn]
    columns["step"] = [harmless(one.step or "") for one in drawn]
    columns["befell"] = [""] * len(drawn)
    return columns


def harmless(text: str) -> str:
    """Text that is no HTML: some versions of Bokeh escape what they hover, others do not."""
    return text.translate(_ANGLES)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
