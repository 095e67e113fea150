"""Pieces of views: reading rows of several views side by side, and naming what fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.source import Chunk, Partition, Reader, Region
from dask_em.errors import ChunkError, DaskEmError
from dask_em.sources.columns import Column
from dask_em.sources.graph import Graph, awaited, run
from dask_em.sources.grid import region_text
from dask_em.sources.reading import blaming, chunk_name, side_by_side
from dask_em.sources.rows import as_weights
from dask_em.sources.tiling import Tiling

__all__ = ["ViewPartition", "narrowed"]


@final
@dataclass(frozen=True, eq=False)
class ViewPartition(Partition):
    """A run of cells, each a region of one or more views."""

    columns: tuple[Column, ...]
    weights: Column | None
    tiling: Tiling
    graph: Graph  # of the blocks that are computed
    dtype: np.dtype[Any]
    where: str
    resident: bool = False

    def open(self) -> Reader:
        return self._read

    def futures(self) -> list[Any]:
        """Of the blocks that were persisted on a cluster."""
        return awaited(self.graph)

    def salvage(self, index: int) -> tuple[list[Chunk], int]:
        found, bad = [], 0
        parts = list(self.tiling.stored.within(self.tiling.grid.region(index)))
        if len(parts) == 1:
            return [], 1
        for region in parts:
            try:
                found.append(self._part(index, region))
            except ChunkError:
                bad += 1
        return found, bad

    def _read(self, index: int) -> Chunk:
        return self._part(index, self.tiling.grid.region(index))

    def _part(self, index: int, region: Region) -> Chunk:
        name = chunk_name(self.columns, region, _named)
        read = partial(self._values, region=region, blocks=self._blocks(region))
        rows = side_by_side(self.columns, region, read, self.dtype, self.reads_at_once)
        if self.weights is None:
            return Chunk(index, name, Block(rows, None), region)
        part = read(self.weights)
        return Chunk(index, name, Block(rows, as_weights(part, len(part), name)), region)

    def _blocks(self, region: Region) -> Mapping[Any, Array]:
        """What the region needs of the graph: computed at once, shared work is done once."""
        weights = () if self.weights is None else (self.weights,)
        keys = [
            key
            for column in (*self.columns, *weights)
            for key in column.array.needed(column.axes.selection(region))
        ]
        if not keys:
            return {}
        try:
            return dict(zip(keys, run(self.graph, keys), strict=True))
        except (DaskEmError, MemoryError):
            raise
        except Exception as error:
            names = ", ".join(column.label for column in (*self.columns, *weights))
            raise ChunkError(
                f"region {region_text(region)} of {names} in {self.where} cannot be computed "
                f"({type(error).__name__}: {error}); repair what it is computed from or pass "
                'on_bad_chunk="skip"'
            ) from error

    def _values(self, column: Column, region: Region, blocks: Mapping[Any, Array]) -> Array:
        """(n, f) values of one column."""
        if blocks:
            column = replace(column, array=column.array.given(blocks))
        with blaming(column, region, _named, self.where, "what is stored"):
            return column.read(region)


def narrowed(column: Column, regions: Sequence[Region]) -> Column:
    """A column that need not hold more than some regions of the samples."""
    selections = [column.axes.selection(region) for region in regions]
    return replace(column, array=column.array.within(selections))


def _named(view: Any, selection: Region) -> Iterator[tuple[str, Region]]:
    found: Iterator[tuple[str, Region]] = view.named(selection)
    return found
