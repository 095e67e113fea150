"""Which of many points are drawn."""

from __future__ import annotations

__all__ = ["picks"]


def picks(n: int, most: int) -> list[int]:
    """Positions of at most so many of n points: evenly spread, the first and the last among them.

    Parameters
    ----------
    n : int
        Points that there are.
    most : int
        Points that may be drawn, at least 2.
    """
    if n <= most:
        return list(range(n))
    return [i * (n - 1) // (most - 1) for i in range(most)]
