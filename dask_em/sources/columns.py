"""Columns: which stored arrays become which features, whatever library stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np

from dask_em.core.records import Array
from dask_em.engine.source import Region
from dask_em.errors import SchemaError
from dask_em.sources.axes import Axes
from dask_em.sources.cf import Packing
from dask_em.sources.rows import row_dtype

__all__ = [
    "Column",
    "column_of_array",
    "columns_of_group",
    "dimensions",
    "feature_names",
    "feature_units",
    "labels",
    "sample_dimensions",
    "weight_column",
]

#: coordinates longer than this do not name features: reading them would no longer be cheap
LONGEST_COORDINATE = 1000
#: so many times the values that are wanted are not decoded at once
WASTED = 1.5


@dataclass(frozen=True, eq=False)
class Column:
    """One stored array as features of the rows.

    Parameters
    ----------
    name : str
        Where the array lies in its group; empty for an array that stands alone.
    array : object with shape, chunks, dtype, attrs, and item access by slices
    axes : Axes
    packing : Packing
    dims : tuple of str, optional
        Names of the array's axes, where the array itself does not tell them.
    """

    name: str
    array: Any
    axes: Axes
    packing: Packing
    dims: tuple[str, ...] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.packing.dtype(self.array.dtype, f"array {self.label}")

    @property
    def label(self) -> str:
        return self.name or "the array at the root"

    @property
    def offsets(self) -> tuple[int, ...]:
        """Along each axis how far inside a chunk the array begins: a part of one, perhaps."""
        box = getattr(self.array, "box", None)
        if box is None:
            return (0,) * len(self.array.shape)
        return tuple(p.start % length for p, length in zip(box, self.array.chunks, strict=True))

    def read(self, region: Region) -> Array:
        """(n, f) values of a region of the samples."""
        selection = self.axes.selection(region)
        return self.axes.rows(self.packing.unpack(self._stored(selection), self.dtype))

    def _stored(self, selection: Region) -> Array:
        """What is selected; chunks of which a part is wanted are decoded one after the other.

        All at once they would take the memory of rows that nobody asked for.
        """
        lengths = self.array.chunks
        pairs = list(zip(selection, lengths, strict=True))
        axis = self.axes.order[-1]
        part, length = pairs[axis]
        decoded = prod(-(-one.stop // n) * n - one.start // n * n for one, n in pairs)
        wanted = prod(one.stop - one.start for one in selection)
        if not self.axes.feature_axes or part.stop <= length or decoded < WASTED * wanted:
            return np.asarray(self.array[selection])
        found = np.empty([one.stop - one.start for one in selection], self.array.dtype)
        for start in range(0, part.stop, length):
            piece = slice(start, min(start + length, part.stop))
            place = tuple(piece if i == axis else slice(None) for i in range(len(lengths)))
            chosen = tuple(piece if i == axis else one for i, one in enumerate(selection))
            found[place] = self.array[chosen]
        return found


def column_of_array(name: str, array: Any, sample_dims: Sequence[str] | None) -> Column:
    """An array that stands alone: features are its last axis, or all but the named dimensions.

    Raises
    ------
    SchemaError
        If it has no feature axis, or lacks the named dimensions.
    """
    shape, dims = tuple(array.shape), dimensions(array)
    if sample_dims is None:
        if len(shape) < 2:
            raise SchemaError(
                f"the Zarr array has shape {shape} and no feature axis: the last axis is features; "
                "store it with shape (rows, 1), or pass a group and features=[names] to make each "
                "array one feature"
            )
        return _column(name, array, Axes.features_last(shape))
    if dims is None:
        raise SchemaError(
            f"sample_dims={list(sample_dims)} but the Zarr array of shape {shape} has no dimension "
            "names; leave sample_dims out, then the last axis is features, or name its dimensions, "
            "e.g. create_array(..., dimension_names=[...])"
        )
    return _column(name, array, Axes.named(name or "at the root", shape, dims, sample_dims))


def columns_of_group(
    arrays: Mapping[str, Any], sample_dims: Sequence[str] | None
) -> tuple[Column, ...]:
    """Arrays of a group side by side.

    Raises
    ------
    SchemaError
        If an array lacks a sample dimension, or they disagree in its length.
    """
    columns = tuple(
        _column(name, array, _axes(name, array, arrays, sample_dims))
        for name, array in arrays.items()
    )
    first = columns[0]
    for other in columns[1:]:
        if other.axes.sample_shape != first.axes.sample_shape:
            raise SchemaError(
                f"arrays {first.name} and {other.name} disagree in the lengths of their sample "
                f"axes{_names_of(sample_dims)}: {first.axes.sample_shape} and "
                f"{other.axes.sample_shape}; give arrays on one grid"
            )
    return columns


def _axes(
    name: str, array: Any, arrays: Mapping[str, Any], sample_dims: Sequence[str] | None
) -> Axes:
    shape, dims = tuple(array.shape), dimensions(array)
    if sample_dims is not None:
        if dims is None:
            raise SchemaError(
                f"sample_dims={list(sample_dims)} but array {name} of shape {shape} has no "
                "dimension names; leave sample_dims out, then every axis is a sample axis"
            )
        return Axes.named(name, shape, dims, sample_dims)
    first_name, first = next(iter(arrays.items()))
    wanted = dimensions(first)
    if dims is None or wanted is None or len(set(wanted)) < len(wanted):
        return Axes.all_samples(shape)
    if set(dims) != set(wanted):
        raise SchemaError(
            f"arrays {first_name} and {name} have different dimensions, {wanted} and {dims}; pass "
            "sample_dims=[...] with those that tell rows apart, the others become features"
        )
    return Axes.named(name, shape, dims, wanted)


def _column(name: str, array: Any, axes: Axes) -> Column:
    row_dtype(array.dtype, f"array {name or 'at the root'}")
    if axes.n_samples == 0:
        raise SchemaError(f"array {name or 'at the root'} has no sample axis; name one or more")
    if axes.n_features == 0:
        raise SchemaError(
            f"array {name or 'at the root'} of shape {axes.shape} has 0 feature(s) while a minimum "
            "of 1 is required"
        )
    return Column(name, array, axes, Packing.of(_attributes(array), name or "at the root"))


def dimensions(array: Any) -> tuple[str, ...] | None:
    """The array's dimension names; None where it has none, or not one for every axis."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if names is None or len(names) != len(array.shape) or None in names:
        return None
    return tuple(str(name) for name in names)


def _attributes(array: Any) -> Mapping[str, Any]:
    attributes = dict(array.attrs)
    # a fill value is what unwritten chunks hold, not a mark of missing values; only in format 2
    # xarray keeps a variable's _FillValue there
    if array.metadata.zarr_format == 2 and "_ARRAY_DIMENSIONS" in attributes:
        attributes.setdefault("_FillValue", array.metadata.fill_value)
    return attributes


def feature_names(
    columns: Sequence[Column], coordinates: Mapping[str, Any]
) -> tuple[str, ...] | None:
    """Names like ``u`` or ``temperature[pressure=30]``; None for an array that stands alone."""
    if not all(column.name for column in columns):
        return None
    return tuple(name for column in columns for name in _labels(column, coordinates))


def feature_units(columns: Sequence[Column]) -> tuple[str | None, ...] | None:
    """The attribute ``units`` of each feature's array; None where no array has one."""
    told = [column.array.attrs.get("units") for column in columns]
    if all(unit is None for unit in told):
        return None
    return tuple(
        None if unit is None else str(unit)
        for unit, column in zip(told, columns, strict=True)
        for _ in range(column.axes.n_features)
    )


def sample_dimensions(columns: Sequence[Column]) -> tuple[str, ...] | None:
    """Names of the sample axes; None where the first array has none."""
    first = columns[0]
    dims = dimensions(first.array)
    return None if dims is None else first.axes.sample_part(dims)


def _labels(column: Column, coordinates: Mapping[str, Any]) -> list[str]:
    return labels(column.name, column.axes, dimensions(column.array), coordinates)


def labels(
    name: str, axes: Axes, dims: Sequence[str] | None, coordinates: Mapping[str, Any]
) -> list[str]:
    """The names of the features of one array, e.g. ``temperature[pressure=30]``.

    Parameters
    ----------
    name : str
        Of the array.
    axes : Axes
    dims : sequence of str, optional
        The names of its axes.
    coordinates : mapping
        By name of an axis an array of its labels, read if it is short.
    """
    if not axes.feature_axes:
        return [name]
    per_axis = [
        _ticks(dims[axis] if dims else None, axes.shape[axis], coordinates)
        for axis in axes.feature_axes
    ]
    return [f"{name}[{','.join(ticks)}]" for ticks in product(*per_axis)]


def _ticks(dim: str | None, length: int, coordinates: Mapping[str, Any]) -> list[str]:
    coordinate = coordinates.get(dim) if dim else None
    if coordinate is None or coordinate.shape != (length,) or length > LONGEST_COORDINATE:
        return [str(index) for index in range(length)]
    try:
        found = np.asarray(coordinate[:])
        values = (found.astype("U") if found.dtype.kind in "mM" else found).tolist()
    except Exception:  # a name is not worth a failure: the index does as well
        return [str(index) for index in range(length)]
    return [
        f"{dim}={value:g}" if isinstance(value, float) else f"{dim}={value}" for value in values
    ]


def weight_column(array: Any, first: Column) -> Column:
    """A stored array of one weight per row, for rows laid out as the first column's.

    Raises
    ------
    SchemaError
        If its shape is not that of the sample axes.
    """
    shape, dims, wanted = tuple(array.shape), dimensions(array), dimensions(first.array)
    axes = Axes.all_samples(shape)
    if dims is not None and wanted is not None:
        samples = first.axes.sample_part(wanted)
        if set(dims) == set(samples):
            axes = Axes.named("of weights", shape, dims, samples)
    if axes.sample_shape != first.axes.sample_shape:
        raise SchemaError(
            f"sample_weight has shape {shape}, expected {first.axes.sample_shape}: one weight per "
            "row"
        )
    return _column("of weights", array, axes)


def _names_of(dims: Sequence[str] | None) -> str:
    return "" if dims is None else f" ({', '.join(dims)})"
