"""Computed: a dask array of which the blocks under a region are computed together."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate, product
from typing import Any, final

import numpy as np

from dask_em.core.records import Array
from dask_em.engine.source import Region
from dask_em.sources.xarray.views import View

__all__ = ["Computed"]


@final
@dataclass(frozen=True, eq=False)
class Computed(View):
    """A dask array without its graph.

    Parameters
    ----------
    name : str
        Of the array in the graph.
    bounds : tuple of tuple of int
        Along each axis where blocks begin, and where the last ends.
    dtype : numpy.dtype
    blocks : mapping
        Key to values, of the blocks that have been computed.
    """

    name: str
    bounds: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]
    blocks: Mapping[Any, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, array: Any) -> Computed:
        bounds = tuple((0, *accumulate(int(n) for n in axis)) for axis in array.chunks)
        return cls(array.name, bounds, array.dtype)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(axis[-1] for axis in self.bounds)

    @property
    def chunks(self) -> tuple[int, ...]:  # type: ignore[override]  # a region is read at once
        return self.shape

    def needed(self, selection: Region) -> list[Any]:
        return [(self.name, *cell) for cell in product(*self._touched(selection))]

    def given(self, blocks: Mapping[Any, Array]) -> View:
        return replace(self, blocks=blocks)

    def __getitem__(self, selection: Region) -> Array:
        cells = list(product(*self._touched(selection)))
        if len(cells) == 1:
            return self._part(cells[0], selection)[1]
        found = np.empty([part.stop - part.start for part in selection], self.dtype)
        for cell in cells:
            place, part = self._part(cell, selection)
            found[place] = part
        return found

    def _touched(self, selection: Region) -> list[range]:
        return [
            range(bisect_right(axis, part.start) - 1, bisect_left(axis, part.stop))
            for axis, part in zip(self.bounds, selection, strict=True)
        ]

    def _part(self, cell: tuple[int, ...], selection: Region) -> tuple[Region, Array]:
        """What a block has of a region: where it lies in the region, and its values."""
        block = self._block(cell)
        begins = [axis[i] for axis, i in zip(self.bounds, cell, strict=True)]
        shared = [
            slice(max(part.start, begin), min(part.stop, begin + length))
            for part, begin, length in zip(selection, begins, block.shape, strict=True)
        ]
        place = tuple(
            slice(one.start - part.start, one.stop - part.start)
            for one, part in zip(shared, selection, strict=True)
        )
        inside = tuple(
            slice(one.start - begin, one.stop - begin)
            for one, begin in zip(shared, begins, strict=True)
        )
        return place, block[inside]

    def _block(self, cell: tuple[int, ...]) -> Array:
        block = self.blocks[(self.name, *cell)]
        if isinstance(block, np.ma.MaskedArray):
            block = np.ma.filled(block.astype(self.dtype), np.nan)
        block = np.asarray(block)
        promised = tuple(axis[i + 1] - axis[i] for axis, i in zip(self.bounds, cell, strict=True))
        if block.shape != promised:
            raise ValueError(
                f"block {cell} has shape {block.shape} where the array promises {promised}; tell "
                "the function that makes it, e.g. apply_ufunc(..., output_core_dims=...)"
            )
        return block
