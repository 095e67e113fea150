"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["BARS", "sparkline"]

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """Values as bars, the lowest the smallest and the highest the largest.

    Parameters
    ----------
    values : sequence of float or None
        None, and what is not finite, is a blank.
    width : int
        Characters at most. Of values that share one the last shows, as that of a curve that
        climbs does.
    """
    known = [None if one is None or not math.isfinite(one) else one for one in values]
    n = len(known)
    if n > width:
        known = [_last(known[i * n // width : (i + 1) * n // width]) for i in range(width)]
    shown = [one for one in known if one is not None]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    return "".join(" " if one is None else BARS[_level(one, low, high)] for one in known)


def _last(values: Sequence[float | None]) -> float | None:
    return next((one for one in reversed(values) if one is not None), None)


def _level(value: float, low: float, high: float) -> int:
    span = high - low
    if not 0 < span < math.inf:  # a line without slope runs in the middle
        return len(BARS) // 2 - 1
    return round((value - low) / span * (len(BARS) - 1))
