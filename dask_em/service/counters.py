"""Counters: how often something happened since the scheduler started."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass
class Counters:
    """What a service did, for those who watch many."""

    submissions: int = 0
    refusals: int = 0  # of specifications
    driver_restarts: int = 0
    passes: int = 0
    rows: int = 0  # read in passes
    nbytes: int = 0  # read and decoded in passes
