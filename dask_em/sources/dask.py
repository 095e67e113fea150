"""Dask arrays as a source: a lazy graph is cut by chunks and run inside the task, not loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan, prod
from typing import Any, final

import dask.array
import numpy as np

from dask_em.core.block import Block, check_weights
from dask_em.engine.source import Chunk, Partition, Reader, Region, Schema, Source
from dask_em.errors import ChunkError, DaskEmError, SchemaError
from dask_em.sources.graph import (
    Blocks,
    Key,
    awaited,
    optimized,
    run,
    shares_work,
    upstream,
)
from dask_em.sources.grid import Grid
from dask_em.sources.rows import as_rows, as_weights, row_dtype

__all__ = ["DaskSource"]

#: what a chunk of unknown length is taken to hold when memory is planned
UNKNOWN_CHUNK_BYTES = 16 * 2**20


@final
class DaskSource(Source):
    """Rows of a dask array.

    Nothing is computed here. Each partition carries the part of the graph that its chunks
    need and runs it chunk by chunk in the thread that reads it, so that no more than one
    chunk's work is in memory.

    Parameters
    ----------
    array : dask.array.Array (..., d)
        Features along the last axis, in any chunks; the lengths of sample chunks may be unknown.
    weights : dask.array.Array or array (...), optional
        Non-negative weight of each row, in the shape of the sample axes. A dask array is checked
        chunk by chunk as it is read.

    Raises
    ------
    SchemaError
        If shapes or dtypes do not fit.
    DataError
        If weights that are in memory are negative or not finite, or none is positive.

    Warns
    -----
    UserWarning
        If chunks share upstream tasks, which are then computed once per chunk.
    """

    def __init__(self, array: Any, weights: Any = None) -> None:
        d = _n_features(array)
        dtype = row_dtype(array.dtype, "the dask array")
        weights = None if weights is None else _matched(weights, array)
        self._grid = _grid(array)
        self._values = Blocks.of(array, features=True)
        self._weights = None if weights is None else Blocks.of(weights, features=False)
        self._graph = optimized([array] if weights is None else [array, weights])
        row_bytes = d * dtype.itemsize + (0 if weights is None else 8)
        self.schema = Schema(
            n_features=d,
            dtype=dtype,
            sample_shape=None if self._grid is None else self._grid.shape,
            n_chunks=prod(self._values.counts) if self._grid is None else self._grid.n_cells,
            chunk_bytes=_chunk_bytes(self._grid, row_bytes),
            sample_chunks=None if self._grid is None else self._grid.lengths,
            feature_names=None,
            describe=f"dask array {array.name!r} of shape {array.shape}",
        )
        self.shares_work = shares_work(
            self._graph,
            (self._keys(i) for i in range(self.schema.n_chunks)),
            ("chunks of this dask array", "chunk"),
            "array.persist()",
            "array.to_zarr(path), and fit the path",
        )

    def partition(self, chunks: range) -> Partition:
        keys = [key for index in chunks for key in self._keys(index)]
        return _DaskPartition(
            chunks=chunks,
            graph=upstream(self._graph, keys),
            values=self._values,
            weights=self._weights,
            regions=None if self._grid is None else tuple(map(self._grid.region, chunks)),
            n_features=self.schema.n_features,
            dtype=self.schema.dtype,
        )

    def shared_graph(self) -> tuple[Mapping[Key, Any], list[list[Key]]]:
        """The graph of all chunks, and of each chunk the keys of its parts, values then weights.

        For computing chunks that share work as ordinary Dask tasks.
        """
        return self._graph, [self._keys(index) for index in range(self.schema.n_chunks)]

    def _keys(self, index: int) -> list[Key]:
        return _keys(index, self._values, self._weights)


@final
@dataclass(frozen=True, eq=False)
class _DaskPartition(Partition):
    graph: Mapping[Key, Any]  # what these chunks need, and no more
    values: Blocks
    weights: Blocks | None
    regions: tuple[Region, ...] | None
    n_features: int
    dtype: np.dtype[Any]

    def open(self) -> Reader:
        return self._read

    def futures(self) -> list[Any]:
        """Of the blocks that were persisted on a cluster."""
        return awaited(self.graph)

    def _read(self, index: int) -> Chunk:
        region = None if self.regions is None else self.regions[self.chunks.index(index)]
        name = f"chunk {_cell(index, self.values.counts)} of dask array {self.values.name}"
        parts = self._compute(index, name)
        weights = None if self.weights is None else parts.pop()
        part = _joined(parts)
        _check_shape(np.shape(part), region, self.n_features, name)
        rows = as_rows(part, self.dtype, self.n_features)
        checked = None if weights is None else as_weights(weights, len(rows), name)
        return Chunk(index, name, Block(rows, checked), region)

    def _compute(self, index: int, name: str) -> list[Any]:
        try:
            return run(self.graph, _keys(index, self.values, self.weights))
        except (DaskEmError, MemoryError):
            raise
        except Exception as error:
            raise ChunkError(
                f"{name} cannot be computed ({type(error).__name__}: {error}); repair what the "
                'array is made from or pass on_bad_chunk="skip"'
            ) from error


def _joined(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    masked = any(isinstance(part, np.ma.MaskedArray) for part in parts)
    concatenate: Callable[..., Any] = np.ma.concatenate if masked else np.concatenate
    return concatenate(parts, axis=-1)


def _cell(index: int, counts: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(index, counts))


def _keys(index: int, values: Blocks, weights: Blocks | None) -> list[Key]:
    cell = _cell(index, values.counts)
    return values.keys(cell) + ([] if weights is None else weights.keys(cell))


def _n_features(array: Any) -> int:
    if array.ndim < 2:
        raise SchemaError(
            f"Expected 2D array, got a {array.ndim}-d dask array of shape {array.shape} instead: "
            "the last axis is features. Reshape your data, with array[:, None] if it has a single "
            "feature"
        )
    d = array.shape[-1]
    if isnan(d):
        raise SchemaError(
            f"the feature axis of the dask array has unknown length (shape {array.shape}); call "
            "array.compute_chunk_sizes() first"
        )
    if d == 0:
        raise SchemaError(f"0 feature(s) (shape={array.shape}) while a minimum of 1 is required")
    return int(d)


def _grid(array: Any) -> Grid | None:
    sample_shape = array.shape[:-1]
    if any(isnan(length) for length in sample_shape):
        return None
    return Grid(tuple(int(length) for length in sample_shape), array.chunks[:-1])


def _chunk_bytes(grid: Grid | None, row_bytes: int) -> int:
    return UNKNOWN_CHUNK_BYTES if grid is None else prod(grid.largest) * row_bytes


def _matched(weights: Any, array: Any) -> Any:
    """Weights as a dask array in the chunks of the sample axes."""
    if not isinstance(weights, dask.array.Array):
        return _wrapped(weights, array)
    row_dtype(weights.dtype, "the weights")
    if _same(weights.chunks, array.chunks[:-1]):
        return weights
    known = not any(isnan(length) for length in (*weights.shape, *array.shape))
    if known and weights.shape == array.shape[:-1]:
        return weights.rechunk(array.chunks[:-1])
    raise SchemaError(
        f"sample_weight has shape {weights.shape} in {weights.numblocks} chunks, expected "
        f"{array.shape[:-1]} in {array.numblocks[:-1]} chunks: one weight per row"
    )


def _wrapped(weights: Any, array: Any) -> Any:
    weights, shape = np.asarray(weights), array.shape[:-1]
    if any(isnan(length) for length in shape):
        raise SchemaError(
            "sample_weight lies in memory but the dask array's chunks have unknown lengths; call "
            "array.compute_chunk_sizes() first"
        )
    flat = weights.reshape(-1) if weights.shape == shape else weights
    checked = check_weights(flat, prod(shape)).reshape(shape)
    return dask.array.from_array(checked, chunks=array.chunks[:-1], name=False)


def _same(left: tuple[Any, ...], right: tuple[Any, ...]) -> bool:
    # unknown lengths are NaN, which is unequal to itself; the rows are counted when read
    if tuple(map(len, left)) != tuple(map(len, right)):
        return False
    pairs = (pair for axes in zip(left, right, strict=True) for pair in zip(*axes, strict=True))
    return all(a == b or (isnan(a) and isnan(b)) for a, b in pairs)


def _check_shape(shape: tuple[int, ...], region: Region | None, n_features: int, name: str) -> None:
    promised = None if region is None else (*(s.stop - s.start for s in region), n_features)
    if shape == promised or (promised is None and shape[-1:] == (n_features,)):
        return
    raise SchemaError(
        f"{name} has shape {shape} where the array promises {promised or ('?', n_features)}; tell "
        "the function that makes it, e.g. map_blocks(..., chunks=...)"
    )
