"""Cells of stored arrays: reading them, and naming what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, final

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.source import Chunk, Partition, Reader, Region
from dask_em.errors import ChunkError
from dask_em.sources.columns import Column
from dask_em.sources.grid import Grid
from dask_em.sources.reading import blaming, chunk_name, side_by_side
from dask_em.sources.rows import as_weights

__all__ = ["StoredPartition", "stored_chunks"]


@final
@dataclass(frozen=True, eq=False)
class StoredPartition(Partition):
    """A run of cells, each a region of one or more stored arrays."""

    # an opened array pickles as its store's address and its metadata: a worker opens it without
    # reading the metadata again
    columns: tuple[Column, ...]
    grid: Grid
    stored: Grid  # the cells of `grid` before they were joined
    weights: Column | tuple[Array, ...] | None  # stored, or in memory for each of `chunks`
    dtype: np.dtype[Any]

    def open(self) -> Reader:
        return self._read

    def _read(self, index: int) -> Chunk:
        return self._part(index, self.grid.region(index))

    def salvage(self, index: int) -> tuple[list[Chunk], int]:
        found, bad = [], 0
        for region in self.stored.within(self.grid.region(index)):
            try:
                found.append(self._part(index, region))
            except ChunkError:
                bad += 1
        return found, bad

    def _part(self, index: int, region: Region) -> Chunk:
        """A region of a cell, or the whole of it."""
        name = chunk_name(self.columns, region, stored_chunks)
        read = partial(_read, region=region)
        rows = side_by_side(self.columns, region, read, self.dtype, self.reads_at_once)
        return Chunk(index, name, Block(rows, self._weigh(index, region, name)), region)

    def _weigh(self, index: int, region: Region, name: str) -> Array | None:
        if self.weights is None:
            return None
        if isinstance(self.weights, Column):
            part = _read(self.weights, region)
            return as_weights(part, len(part), name)
        corner = self.grid.region(index)
        inside = tuple(
            slice(part.start - cell.start, part.stop - cell.start)
            for part, cell in zip(region, corner, strict=True)
        )
        return self.weights[self.chunks.index(index)][inside].reshape(-1)


def _read(column: Column, region: Region) -> Array:
    with blaming(column, region, stored_chunks, str(column.array.store_path), "the store"):
        return column.read(region)


def stored_chunks(array: Any, parts: Region) -> Iterator[tuple[str, Region]]:
    """The name of each chunk, or shard, of a Zarr array that a region touches, and what it shares.

    Parameters
    ----------
    array : zarr.Array
    parts : tuple of slice
        A region of the array.
    """
    lengths = array.shards or array.chunks
    spans = [
        range(part.start // length, -(-part.stop // length))
        for part, length in zip(parts, lengths, strict=True)
    ]
    for place in product(*spans):
        key = array.metadata.encode_chunk_key(place)
        shared = tuple(
            slice(max(part.start, i * length), min(part.stop, (i + 1) * length))
            for part, i, length in zip(parts, place, lengths, strict=True)
        )
        yield f"{array.path}/{key}".lstrip("/"), shared
