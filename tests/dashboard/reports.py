"""Reports: a supervisor as far as the page needs one, with jobs made up by the test."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import defaultdict
from dataclasses import replace
from typing import Any

from dask_em.service.view import JobView, Mark, PassView

BEGAN = 1_700_000_000.0


class Reports:
    """Jobs, and what was asked about them."""

    def __init__(self) -> None:
        self.views: dict[str, JobView] = {}
        self.traces: dict[str, list[PassView]] = defaultdict(list)
        self.marked: dict[str, list[Mark]] = defaultdict(list)
        self.asked: list[tuple[str, int]] = []

    def jobs(self) -> list[JobView]:
        return list(reversed(self.views.values()))

    def trace(self, id: str, after: int = 0) -> list[PassView]:
        self.asked.append((id, after))
        passes = self.traces[id]
        return passes[bisect_right(passes, after, key=lambda one: one.number) :]

    def marks(self, id: str) -> list[Mark]:
        return list(self.marked[id])

    def begin(self, id: str, **changes: Any) -> JobView:
        """One more job."""
        order = len(self.views)
        view = JobView(
            id=id,
            token="t" + id,
            task="fit",
            what="gaussian_mixture k=8 full",
            data="s3://climate/era5.zarr",
            output=None,
            owner="ada",
            tags={},
            priority=0,
            state="running",
            submitted=BEGAN + order,
            started=BEGAN + order,
            ended=None,
            epoch=1,
            restarts=0,
            passes=0,
            max_passes=100,
            doing="starting",
            tasks_done=0,
            tasks=0,
            objective=None,
            gap=None,
        )
        self.views[id] = replace(view, **changes)
        return self.views[id]

    def change(self, id: str, **changes: Any) -> JobView:
        """The job as it is from now on."""
        old = self.views[id]
        self.views[id] = replace(old, **changes, version=old.version + 1)
        return self.views[id]

    def read(self, id: str, n: int = 1, **changes: Any) -> None:
        """More passes of a job."""
        passes = self.traces[id]
        for _ in range(n):
            number = passes[-1].number + 1 if passes else 1
            passes.append(replace(a_pass(number), **changes))
        last = passes[-1]
        self.change(
            id,
            passes=last.number,
            objective=last.objective,
            gap=last.gap,
            doing=f"pass {last.number + 1}",
        )

    def mark(self, id: str, kind: str, number: int, text: str) -> None:
        self.marked[id].append(Mark(kind=kind, number=number, at=time.time(), text=text))
        self.change(id)


def a_pass(number: int) -> PassView:
    """A pass of a fit that converges."""
    seconds = 4.0 + math.sin(number) + (6.0 if number == 1 else 0.0)
    return PassView(
        number=number,
        kind="em",
        ended=BEGAN + number,
        objective=-12.0 - 3.0 * math.exp(-number / 12) - 0.5 / number,
        gain=0.25 * math.exp(-number / 12),
        gap=3.0 * math.exp(-number / 12),
        seconds=seconds,
        read_seconds=0.5 * seconds,
        compute_seconds=0.35 * seconds,
        between_seconds=0.05,
        rows=40_000_000,
        nbytes=2_560_000_000,
        step="em",
    )
