"""The merge tree: one shape for a data set, whatever the number of tasks and workers.

The chunks of a data set are cut into L leaves, L a power of two that the data alone decide. A
task owns a complete aligned subtree of leaves, and the tasks' results are merged by what is left
of the same binary tree. So every sum is the same sum, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeVar

__all__ = ["Addable", "fold", "leaves", "merge"]


class Addable(Protocol):
    """What merges."""

    def __add__(self, other: Any) -> Any: ...


T = TypeVar("T", bound=Addable)

#: results that are merged at a time, a power of two
FAN_IN = 8
#: most leaves of a data set, and so most tasks of a pass
MOST_LEAVES = 512


def leaves(n_chunks: int, most: int = MOST_LEAVES) -> list[range]:
    """Cut chunks into a power of two of runs; some are empty when there are few chunks.

    Whatever is summed is cut by the chunks alone; `most`, a power of two, is for what is not.
    """
    n_leaves = 1
    while n_leaves < min(n_chunks, most):
        n_leaves *= 2
    edges = [n_chunks * i // n_leaves for i in range(n_leaves + 1)]
    return [range(start, stop) for start, stop in pairwise(edges)]


def fold(parts: Iterable[T | None]) -> T | None:
    """Merge a power of two of parts as a binary tree, holding few of them at a time.

    Parts may be made one by one: two neighbours merge as soon as both are there. None is an empty
    part.
    """
    waiting: list[tuple[int, T | None]] = []
    for part in parts:
        height, total = 0, part
        while waiting and waiting[-1][0] == height:
            total = _sum(waiting.pop()[1], total)
            height += 1
        waiting.append((height, total))
    if not waiting:
        return None
    if len(waiting) > 1:
        raise AssertionError("a merge tree holds a power of two of parts")
    return waiting[0][1]


def merge(*parts: T | None) -> T | None:
    """`fold` of results that are all there."""
    return fold(parts)


def _sum(left: T | None, right: T | None) -> T | None:
    if left is None or right is None:
        return left if right is None else right
    total: T = left + right
    return total


def groups(parts: Sequence[Any], fan_in: int = FAN_IN) -> list[list[Any]]:
    """Runs of `fan_in` neighbours, a power of two: each run is a complete subtree."""
    return [list(parts[start : start + fan_in]) for start in range(0, len(parts), fan_in)]
