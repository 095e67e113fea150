"""Pieces of views: reading rows of several views side by side, and naming what fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from math import prod
from typing import Any, final

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.ahead import MOST_READS, at_once
from dask_em.engine.source import Chunk, Partition, Reader, Region
from dask_em.errors import ChunkError, DaskEmError, SourceError
from dask_em.sources.cells import NAMED_CHUNKS, TRIED_CHUNKS
from dask_em.sources.columns import Column
from dask_em.sources.graph import Graph, awaited, run
from dask_em.sources.grid import region_text
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
        name = _name(self.columns, region)
        blocks = self._blocks(region)
        rows = self._rows(region, blocks)
        if self.weights is None:
            return Chunk(index, name, Block(rows, None), region)
        part = self._values(self.weights, region, blocks)
        return Chunk(index, name, Block(rows, as_weights(part, len(part), name)), region)

    def _rows(self, region: Region, blocks: Mapping[Any, Array]) -> Array:
        if len(self.columns) == 1:
            return self._values(self.columns[0], region, blocks).astype(self.dtype, copy=False)
        n = prod(part.stop - part.start for part in region)
        rows = np.empty((n, sum(column.axes.n_features for column in self.columns)), self.dtype)
        start = 0
        # where each request waits for an answer, all columns are asked for at once
        several = 1 if self.reads_at_once == 1 else min(len(self.columns), MOST_READS)
        calls = (partial(self._values, column, region, blocks) for column in self.columns)
        for column, part in zip(self.columns, at_once(calls, several), strict=True):
            stop = start + column.axes.n_features
            rows[:, start:stop] = part
            start = stop
        return rows

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
        try:
            return column.read(region)
        except (MemoryError, SourceError):
            # a store that does not answer, or denies access, holds no bad chunk: nothing is skipped
            raise
        except Exception as error:
            # whatever a codec, a file system or a library raises: there is no common class
            bad = ", ".join(_bad_chunks(column, region))
            place = f"chunk {bad}" if bad else f"region {region_text(region)} of {column.label}"
            verb = "read" if isinstance(error, OSError) else "decoded"
            raise ChunkError(
                f"{place} cannot be {verb} ({type(error).__name__}: {error}) in {self.where}; "
                'repair what is stored or pass on_bad_chunk="skip"'
            ) from error


def narrowed(column: Column, regions: Sequence[Region]) -> Column:
    """A column that need not hold more than some regions of the samples."""
    selections = [column.axes.selection(region) for region in regions]
    return replace(column, array=column.array.within(selections))


def _bad_chunks(column: Column, region: Region) -> list[str]:
    """Names of the first stored chunks of the region that fail when read alone."""
    bad = []
    for name, selection in islice(column.array.named(column.axes.selection(region)), TRIED_CHUNKS):
        try:
            column.array[selection]
        except Exception:
            bad.append(name)
        if len(bad) == NAMED_CHUNKS:
            break
    return bad


def _name(columns: Sequence[Column], region: Region) -> str:
    if len(columns) == 1:
        (column,) = columns
        touched = list(islice(column.array.named(column.axes.selection(region)), 2))
        if len(touched) == 1:
            return f"chunk {touched[0][0]}"
    return f"region {region_text(region)} of {', '.join(column.label for column in columns)}"
