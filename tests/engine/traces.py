"""Traces: what a monitor is told of a fit that is killed, and of the one that goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dask_em.engine.monitor import Monitor, PassRecord


class Killed(Exception):  # noqa: N818
    """Stands for the death of the process."""


class Trace(Monitor):
    """Remembers what it is told, and kills the fit at the so-manieth end of a pass."""

    def __init__(self, kill_at: int = 0) -> None:
        self.kill_at = kill_at
        self.begun: list[str] = []
        self.ended: list[PassRecord] = []

    def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
        self.begun.append(kind)

    def end(self, record: PassRecord) -> None:
        self.ended.append(record)
        if len(self.ended) == self.kill_at:
            raise Killed

    @property
    def timeless(self) -> list[PassRecord]:
        return [timeless(record) for record in self.ended]


def timeless(record: PassRecord) -> PassRecord:
    """A record without the time that was measured."""
    never: dict[str, Any] = dict.fromkeys(
        ("seconds", "read_seconds", "compute_seconds", "between_seconds"), 0.0
    )
    return replace(record, **never)


def check_killed_anywhere(fit: Callable[[Monitor, Any], Any], folder: Any) -> None:
    """Kill a fit whenever it tells that a pass has ended: no pass that was told is made again.

    Parameters
    ----------
    fit : callable
        ``fit(monitor, checkpoint)``, which returns what must be the same to the bit.
    folder : path
        For checkpoints.
    """
    whole = Trace()
    expected = fit(whole, folder / "whole")
    assert expected == fit(Monitor(), None)
    n_passes = len(whole.ended)
    for killed_at in range(1, n_passes + 1):
        with pytest.raises(Killed):
            fit(Trace(killed_at), folder / f"{killed_at}")
        resumed = Trace()
        assert fit(resumed, folder / f"{killed_at}") == expected, f"killed at {killed_at}"
        assert resumed.timeless == whole.timeless
        assert len(resumed.begun) == n_passes - killed_at, f"killed at {killed_at}"
