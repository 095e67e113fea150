"""Cells of stored arrays: reading them, and naming what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from math import prod
from typing import Any, final

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.ahead import MOST_READS, at_once
from dask_em.engine.source import Chunk, Partition, Reader, Region
from dask_em.errors import ChunkError, SourceError
from dask_em.sources.columns import Column
from dask_em.sources.grid import Grid, region_text
from dask_em.sources.rows import as_weights

__all__ = ["NAMED_CHUNKS", "TRIED_CHUNKS", "StoredPartition", "stored_chunks"]

#: of a cell that fails, at most so many stored chunks are tried to find those to blame
TRIED_CHUNKS = 1000
#: and so many of them are named
NAMED_CHUNKS = 3


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
        name = _chunk_name(self.columns, region)
        rows = self._rows(region)
        return Chunk(index, name, Block(rows, self._weigh(index, region, name)), region)

    def _rows(self, region: Region) -> Array:
        if len(self.columns) == 1:
            return _read(self.columns[0], region)
        n = prod(part.stop - part.start for part in region)
        rows = np.empty((n, sum(column.axes.n_features for column in self.columns)), self.dtype)
        start = 0
        # where each request waits for an answer, all columns are asked for at once
        several = 1 if self.reads_at_once == 1 else min(len(self.columns), MOST_READS)
        parts = at_once((partial(_read, column, region) for column in self.columns), several)
        for column, part in zip(self.columns, parts, strict=True):
            stop = start + column.axes.n_features
            rows[:, start:stop] = part
            start = stop
        return rows

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
    try:
        return column.read(region)
    except (MemoryError, SourceError):
        # a store that does not answer, or denies access, holds no bad chunk: nothing is skipped
        raise
    except Exception as error:
        # whatever a codec or a file system raises: there is no common class
        bad = ", ".join(_bad_chunks(column, region))
        place = f"chunk {bad}" if bad else f"region {region_text(region)} of {column.label}"
        verb = "read" if isinstance(error, OSError) else "decoded"
        raise ChunkError(
            f"{place} cannot be {verb} ({type(error).__name__}: {error}) in "
            f'{column.array.store_path}; repair the store or pass on_bad_chunk="skip"'
        ) from error


def _bad_chunks(column: Column, region: Region) -> list[str]:
    """Names of the first stored chunks of the region that fail when read alone."""
    bad = []
    chunks = stored_chunks(column.array, column.axes.selection(region))
    for key, selection in islice(chunks, TRIED_CHUNKS):
        try:
            column.array[selection]
        except Exception:
            bad.append(key)
        if len(bad) == NAMED_CHUNKS:
            break
    return bad


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


def _chunk_name(columns: Sequence[Column], region: Region) -> str:
    if len(columns) == 1:
        selection = columns[0].axes.selection(region)
        touched = list(islice(stored_chunks(columns[0].array, selection), 2))
        if len(touched) == 1:
            return f"chunk {touched[0][0]}"
    arrays = ", ".join(column.label for column in columns)
    return f"region {region_text(region)} of {arrays}"
