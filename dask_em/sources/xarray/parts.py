"""Parts: variables of xarray as columns of rows, their weights, and how they are tiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import xarray as xr

from dask_em.core.block import check_weights
from dask_em.core.records import Array
from dask_em.errors import SchemaError
from dask_em.sources.axes import Axes
from dask_em.sources.cf import Packing
from dask_em.sources.columns import Column, labels
from dask_em.sources.grid import Grid, common_grid
from dask_em.sources.rows import row_dtype
from dask_em.sources.stored import stored_bytes
from dask_em.sources.tiling import JOINED_BYTES, Tiling
from dask_em.sources.xarray.computed import Computed
from dask_em.sources.xarray.lazy import Lazy, unwrapped, view_of
from dask_em.sources.xarray.variables import Chosen, check_aligned, known
from dask_em.sources.xarray.views import Broadcast, Resident, StoredView, View

__all__ = [
    "Part",
    "bare",
    "bytes_of",
    "names_of",
    "part_of",
    "tiling_of",
    "units_of",
    "weighing_of",
]

#: weights below 0 by this part of the largest are taken for rounded zeros
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Part:
    """A variable as features.

    Parameters
    ----------
    column : Column
    chunks : mapping, optional
        By dimension the lengths of dask's chunks, where those of a store do not count.
    graph : dask.array.Array, optional
        Where there is more to do than to read.
    """

    column: Column
    chunks: Mapping[str, tuple[int, ...]] | None
    graph: Any = None


def part_of(name: Any, variable: xr.Variable, dataset: xr.Dataset, chosen: Chosen) -> Part:
    """A variable, repeated along the sample dimensions that it lacks.

    Raises
    ------
    SchemaError
        If it is not made of real numbers.
    """
    row_dtype(variable.dtype, f"variable {name}")
    front = [dim for dim in chosen.sample_dims if dim not in variable.dims]
    dims = tuple(map(str, (*front, *variable.dims)))
    view, graph = _opened(variable, name)
    if front:
        view = Broadcast(view, tuple(dataset.sizes[dim] for dim in front))
    axes = Axes.named(str(name), view.shape, dims, [str(dim) for dim in chosen.sample_dims])
    read = isinstance(view.view if isinstance(view, Broadcast) else view, Lazy | StoredView)
    cut = {str(dim): lengths for dim, lengths in variable.chunksizes.items()}
    chunks = None if read or not cut else cut
    return Part(Column(str(name), view, axes, Packing(), dims), chunks, graph)


def _opened(variable: xr.Variable, name: Any) -> tuple[View, Any]:
    """A view, and the dask array that it is computed from, if it is."""
    if variable.chunks is None:
        return view_of(variable, name), None
    found = unwrapped(variable)
    if found is not None:
        return view_of(found, name), None
    return Computed.of(variable.data), variable.data


def weighing_of(
    weights: Any, dataset: xr.Dataset, chosen: Chosen, where: str
) -> xr.Variable | None:
    """Weights as a variable of some of the sample dimensions.

    Raises
    ------
    SchemaError, DataError
        If they do not fit the rows, or are in memory and no weights.
    """
    if weights is None:
        return None
    dims = chosen.sample_dims
    shape = tuple(dataset.sizes[dim] for dim in dims)
    if isinstance(weights, str):
        weights = dataset[known(weights, dataset.variables, "variable", where)]
    if isinstance(weights, xr.DataArray):
        check_aligned(weights, dataset, dims, where)
        found = weights.variable
    elif hasattr(weights, "__dask_graph__"):
        if weights.shape != shape:
            raise SchemaError(
                f"sample_weight has shape {weights.shape}, expected {shape}: one weight per row"
            )
        found = xr.Variable(dims, weights)
    else:
        weights = np.asarray(weights)
        flat = weights.reshape(-1) if weights.shape == shape else weights
        return xr.Variable(dims, check_weights(flat, prod(shape)).reshape(shape))
    row_dtype(found.dtype, "the weights")
    if not found._in_memory:
        return found
    values = _rounded(np.asarray(found.values))
    check_weights(values.reshape(-1), values.size)
    return xr.Variable(found.dims, values)


def _rounded(weights: Array) -> Array:
    """Weights of which those that are 0 but for rounding, like the cosine of a pole, are 0."""
    below = weights < 0
    if below.any() and weights.min() > -ROUNDING * weights.max():
        return np.where(below, 0, weights)
    return weights


def tiling_of(
    parts: Sequence[Part], n_columns: int, row_bytes: int, limit_bytes: int, where: str
) -> Tiling:
    """Cells of rows; the last part may be the weight, behind `n_columns` others."""
    axes = parts[0].column.axes
    cut = [part for part in parts if part.chunks is not None]
    if cut:
        dims = axes.sample_part(parts[0].column.dims or ())
        grid = common_grid(
            dims, axes.sample_shape, [part.chunks or {} for part in cut], JOINED_BYTES // row_bytes
        )
        # what is computed of a cell is held until it is rows
        computed = any(part.graph is not None for part in cut)
        return Tiling(grid, grid, prod(grid.largest) * row_bytes if computed else 0)
    stored = [part for part in parts if not isinstance(bare(part.column), Resident)]
    features = [part.column for part in stored if part in parts[:n_columns]]
    if not features:
        grid = Grid.in_memory(axes.sample_shape, row_bytes)
        return Tiling(grid, grid, 0)
    features.sort(key=lambda column: -prod(column.array.chunks))
    return Tiling.of(features, [part.column for part in stored], row_bytes, limit_bytes, where)


def names_of(data: Any, columns: Sequence[Column], dataset: xr.Dataset) -> tuple[str, ...] | None:
    """Names of the features; those of an array without a name are its labels, if it has some."""
    known: Mapping[Any, Any] = dataset.variables
    found = [
        name for column in columns for name in labels(column.name, column.axes, column.dims, known)
    ]
    if isinstance(data, xr.Dataset) or data.name is not None:
        return tuple(found)
    (column,) = columns
    dims = [(column.dims or ())[axis] for axis in column.axes.feature_axes]
    if not dims or not all(dim in known for dim in dims):
        return None
    inside = [name[len(column.name) + 1 : -1] for name in found]
    text = len(dims) == 1 and known[dims[0]].dtype.kind in "OUT"
    return tuple(name.partition("=")[2] if text else name for name in inside)


def units_of(
    columns: Sequence[Column], chosen: Chosen, dataset: xr.Dataset
) -> tuple[str | None, ...]:
    """The physical unit of each feature, as its variable tells it."""
    told = [dataset.variables[name].attrs.get("units") for name in chosen.names]
    return tuple(
        None if unit is None else str(unit)
        for column, unit in zip(columns, told, strict=True)
        for _ in range(column.axes.n_features)
    )


def bytes_of(columns: Sequence[Column]) -> int | None:
    """Bytes on disk of what is read as a whole; None where that is not told cheaply."""
    views = [bare(column) for column in columns]
    arrays = [view.array for view in views if isinstance(view, StoredView) and view.whole]
    return stored_bytes(arrays) if len(arrays) == len(views) else None


def bare(column: Column) -> Any:
    """The view of a column, or the one that it repeats."""
    view = column.array
    return view.view if isinstance(view, Broadcast) else view
