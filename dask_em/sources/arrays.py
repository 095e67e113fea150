"""NumPy arrays as a source: views of rows that lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from dask_em.core.block import Block, check_weights
from dask_em.core.records import Array
from dask_em.engine.fingerprint import Fingerprint, probe
from dask_em.engine.source import Chunk, Partition, Reader, Schema, Source
from dask_em.errors import SchemaError
from dask_em.sources.grid import Grid, region_text
from dask_em.sources.rows import as_rows, row_dtype

__all__ = ["NumpySource"]


@final
class NumpySource(Source):
    """Rows of a NumPy array.

    Parameters
    ----------
    values : array (..., d)
        Features along the last axis; every other axis is a sample axis.
    weights : array (...) or (n,), optional
        Non-negative weight of each row, in the shape of the sample axes or flat.
    feature_names : sequence of str, optional

    Raises
    ------
    SchemaError
        If the shape, the dtype or the names do not fit.
    DataError
        If a weight is negative or not finite, or none is positive.
    """

    local = True

    def __init__(
        self, values: Any, weights: Any = None, feature_names: Sequence[str] | None = None
    ) -> None:
        # a mask must not be lost: as_rows turns it into NaN
        values = values if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
        d = _n_features(values)
        dtype = row_dtype(values.dtype, "the array")
        self._values: Array = values
        self._weights = None if weights is None else _shaped(weights, values.shape[:-1])
        row_bytes = d * dtype.itemsize + (0 if weights is None else 8)
        self._grid = Grid.in_memory(values.shape[:-1], row_bytes)
        self.schema = Schema(
            n_features=d,
            dtype=dtype,
            sample_shape=values.shape[:-1],
            n_chunks=self._grid.n_cells,
            chunk_bytes=int(np.prod(self._grid.largest)) * row_bytes,
            feature_names=_names(feature_names, d),
            sample_chunks=self._grid.lengths,
            describe=f"NumPy array of shape {values.shape} and dtype {values.dtype}",
        )

    def partition(self, chunks: range) -> Partition:
        return _NumpyPartition(chunks, self._values, self._weights, self._grid, self.schema.dtype)

    def fingerprint(self) -> Fingerprint:
        weights = None if self._weights is None else probe(self._weights)
        return Fingerprint.of(self.schema, {"values": probe(self._values), "weights": weights})


@final
@dataclass(frozen=True, eq=False)
class _NumpyPartition(Partition):
    values: Array  # (..., d) of the whole array
    weights: Array | None  # (...) of the whole array
    grid: Grid
    dtype: np.dtype[Any]

    resident = True

    def open(self) -> Reader:
        return self._read

    def _read(self, index: int) -> Chunk:
        region = self.grid.region(index)
        rows = as_rows(self.values[region], self.dtype, self.values.shape[-1])
        weights = None if self.weights is None else self.weights[region].reshape(-1)
        name = f"rows {region_text(region)} of the array"
        return Chunk(index, name, Block(rows, weights), region)


def _n_features(values: Array) -> int:
    if values.ndim < 2:
        raise SchemaError(
            f"Expected 2D array, got {values.ndim}D array of shape {values.shape} instead: the "
            "last axis is features. Reshape your data, with .reshape(-1, 1) if it has a single "
            "feature or .reshape(1, -1) if it is a single row"
        )
    if values.shape[-1] == 0:
        raise SchemaError(
            f"0 feature(s) (shape={values.shape}) while a minimum of 1 is required; the last axis "
            "is features"
        )
    return int(values.shape[-1])


def _shaped(weights: Any, sample_shape: tuple[int, ...]) -> Array:
    weights = np.asarray(weights)
    flat = weights.reshape(-1) if weights.shape == sample_shape else weights
    return check_weights(flat, int(np.prod(sample_shape))).reshape(sample_shape)


def _names(names: Sequence[str] | None, d: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    if len(names) != d:
        raise SchemaError(f"{len(names)} feature names for {d} features; give one per feature")
    return tuple(str(name) for name in names)
