"""Grid: how chunks lie along the sample axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, product
from math import lcm, prod

from dask_em.engine.source import Region

__all__ = ["Grid", "common_grid", "region_text"]

#: a pass over rows in memory takes about this many cells, each between the two sizes in bytes
CELLS = 16
SMALLEST, LARGEST = 256 * 2**10, 32 * 2**20


@dataclass(frozen=True)
class Grid:
    """Cells that cover the sample axes once, numbered in C order.

    Parameters
    ----------
    shape : tuple of int
        Length of each sample axis; it may be 0.
    chunks : tuple of (int or tuple of int)
        Per axis the length of a cell, of which the last may be shorter and an axis of length 0
        has none, or the lengths of all.
    """

    shape: tuple[int, ...]
    chunks: tuple[int | tuple[int, ...], ...]

    @classmethod
    def in_memory(cls, shape: tuple[int, ...], row_bytes: int) -> Grid:
        """Cells for rows in memory, which are stored in no chunks.

        The data alone decide, so that the same rows are summed in the same order everywhere.
        """
        target = min(max(prod(shape) * row_bytes // CELLS, SMALLEST), LARGEST)
        return cls(shape, (1,) * len(shape)).coarsen(row_bytes, target)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Cells along each axis."""
        pairs = zip(self.shape, self.chunks, strict=True)
        return tuple(
            len(chunk) if isinstance(chunk, tuple) else -(-length // chunk)
            for length, chunk in pairs
        )

    @property
    def n_cells(self) -> int:
        return prod(self.counts)

    @property
    def largest(self) -> tuple[int, ...]:
        """The length along each axis that no cell exceeds."""
        pairs = zip(self.shape, self.chunks, strict=True)
        return tuple(
            max(chunk, default=0) if isinstance(chunk, tuple) else min(chunk, length)
            for length, chunk in pairs
        )

    @property
    def lengths(self) -> tuple[tuple[int, ...], ...]:
        """The lengths of the cells along each axis."""
        return tuple(
            tuple(part.stop - part.start for part in self._parts(axis))
            for axis in range(len(self.shape))
        )

    def cell(self, index: int) -> tuple[int, ...]:
        """Coordinates of a cell in the grid."""
        if not 0 <= index < self.n_cells:
            raise IndexError(f"cell {index} of {self.n_cells}")
        found = []
        for count in reversed(self.counts):
            index, remainder = divmod(index, count)
            found.append(remainder)
        return tuple(reversed(found))

    def region(self, index: int) -> Region:
        """Where a cell lies."""
        coordinates = self.cell(index)
        return tuple(self._slice(axis, i) for axis, i in enumerate(coordinates))

    def within(self, region: Region) -> Iterator[Region]:
        """The parts that the cells of this grid make of a region, in C order."""
        spans = [
            [
                part
                for part in self._parts(axis)
                if part.start < whole.stop and part.stop > whole.start
            ]
            for axis, whole in enumerate(region)
        ]
        for place in product(*spans):
            yield tuple(
                slice(max(part.start, whole.start), min(part.stop, whole.stop))
                for part, whole in zip(place, region, strict=True)
            )

    def _parts(self, axis: int) -> Iterator[slice]:
        return (self._slice(axis, i) for i in range(self.counts[axis]))

    def coarsen(self, row_bytes: int, target_bytes: int) -> Grid:
        """Join neighbouring cells, along the last axis first, while they stay within the target.

        An axis is joined only when those after it are whole, so that a cell is few runs of rows.
        Cells that are already larger, and axes with cells of different lengths, stay.
        """
        chunks = list(self.chunks)
        size = prod(self.largest) * row_bytes
        for axis in reversed(range(len(chunks))):
            chunk, length = chunks[axis], self.shape[axis]
            if isinstance(chunk, tuple) or size == 0:
                break
            whole = self.counts[axis]
            joined = _evenly(whole, target_bytes // size)
            chunks[axis] = chunk * joined
            size = size // min(chunk, length) * min(chunk * joined, length)
            if joined < whole:
                break
        return replace(self, chunks=tuple(chunks))

    def shrink(self, row_bytes: int, target_bytes: int) -> Grid:
        """Cut cells along the first axes first until they fit the target, evenly if possible."""
        chunks = list(self.largest)
        for axis in range(len(chunks)):
            others = prod(chunks) // max(1, chunks[axis]) * row_bytes
            chunks[axis] = _part(chunks[axis], target_bytes // max(1, others))
        return replace(self, chunks=tuple(chunks))

    def joined_with(self, chunks: tuple[int, ...]) -> Grid:
        """The grid whose cells hold whole cells of this one and of the other cell lengths."""
        both = zip(self.shape, self.largest, chunks, strict=True)
        return replace(
            self,
            chunks=tuple(
                max(1, min(length, lcm(mine, min(other, length)))) for length, mine, other in both
            ),
        )

    @cached_property
    def _starts(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(
            (0, *accumulate(chunk)) if isinstance(chunk, tuple) else None for chunk in self.chunks
        )

    def _slice(self, axis: int, i: int) -> slice:
        starts, chunk = self._starts[axis], self.chunks[axis]
        if starts is not None:
            return slice(starts[i], starts[i + 1])
        assert isinstance(chunk, int)
        return slice(i * chunk, min((i + 1) * chunk, self.shape[axis]))


def _part(whole: int, most: int) -> int:
    # equal pieces, unless these were of half the length or less
    if whole <= most:
        return max(1, whole)  # an axis of length 0 has no cells, of whatever length
    even = (part for part in range(most, most // 2, -1) if whole % part == 0)
    return max(1, next(even, most))


def _evenly(whole: int, most: int) -> int:
    # pieces of nearly equal length: 5 cells under a limit of 4 are joined as 3 + 2, not 4 + 1
    if most <= 1:
        return 1
    return -(-whole // -(-whole // most))


def common_grid(
    dims: Sequence[str],
    shape: tuple[int, ...],
    chunked: Sequence[Mapping[str, tuple[int, ...]]],
    most: int,
) -> Grid:
    """The finest grid whose cells are made of whole chunks of several arrays.

    Parameters
    ----------
    dims : sequence of str
        Names of the axes.
    shape : tuple of int
        Their lengths.
    chunked : sequence of mapping
        For each array the lengths of its chunks by dimension; it may lack some.
    most : int
        Rows that a cell may hold; where it would hold more, the chunks of the first array that has
        a dimension are the cells.
    """
    joined, first = [], []
    for dim, length in zip(dims, shape, strict=True):
        ends = [list(accumulate(one[dim])) for one in chunked if dim in one] or [[length]]
        joined.append(_lengths(sorted(set(ends[0]).intersection(*ends[1:]))))
        first.append(_lengths(ends[0]))
    grid = Grid(shape, tuple(joined))
    return grid if prod(grid.largest) <= most else Grid(shape, tuple(first))


def _lengths(ends: Sequence[int]) -> tuple[int, ...]:
    # a chunk without rows is no cell
    starts = (0, *ends)
    return tuple(end - start for start, end in zip(starts, ends, strict=False) if end > start)


def region_text(region: Region) -> str:
    """A region as it is written in an index, e.g. ``[0:100, 20:40]``."""
    return "[" + ", ".join(f"{part.start}:{part.stop}" for part in region) + "]"
