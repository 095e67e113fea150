"""Coordinates of a group's arrays, by the conventions of xarray and CF."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dask_em.engine.source import Coordinate
from dask_em.sources.columns import Column, dimensions

__all__ = ["LARGEST_BYTES", "coordinate_names", "stored_coordinates"]

#: coordinates of more bytes are not copied beside answers
LARGEST_BYTES = 64 * 2**20
#: what is said of an array by other means
SAID_ELSEWHERE = ("_ARRAY_DIMENSIONS", "coordinates")


def coordinate_names(attributes: Mapping[str, Any], arrays: Mapping[str, Any]) -> set[str]:
    """The names of those arrays of a group that are coordinates of others.

    Parameters
    ----------
    attributes : mapping
        Of the group.
    arrays : mapping
        Its arrays by name.
    """
    dims = {name: dimensions(array) or () for name, array in arrays.items()}
    axes = {name for name, own in dims.items() if own == (name,)}
    told = (attributes, *(array.attrs for array in arrays.values()))
    return axes | {name for one in told for name in _listed(one) if name in arrays}


def stored_coordinates(
    group: Any, columns: Sequence[Column], sample_dims: Sequence[str] | None
) -> dict[str, Coordinate]:
    """The coordinates of the sample axes, as they are stored.

    They are the arrays called like an axis, and those that the attribute ``coordinates`` of the
    group or of a column names (CF conventions 1.11, section 5).

    Warns
    -----
    UserWarning
        If one is too large to be copied.
    """
    found = {}
    for name in dict.fromkeys(_names(group.attrs, columns, sample_dims or ())):
        array = group.get(name)
        dims = _dimensions(array)
        if dims is None or not set(dims) <= set(sample_dims or ()):
            continue
        if array.nbytes > LARGEST_BYTES:
            warnings.warn(
                f"the coordinate {name} takes {array.nbytes / 2**20:,.0f} MiB and is not copied, "
                f"the limit is {LARGEST_BYTES / 2**20:,.0f}; take it from the store of the rows",
                UserWarning,
                stacklevel=2,
            )
            continue
        found[name] = _read(array, dims)
    return found


def _read(array: Any, dims: tuple[str, ...]) -> Coordinate:
    values, told = np.asarray(array[...]), _attributes(array)
    fill = array.metadata.fill_value if array.metadata.zarr_format == 2 else None
    # in format 2, xarray keeps there what marks missing values; of format 3 it expects it in an
    # attribute, which for a float is not a number
    if fill is not None and values.dtype.kind == "f":
        values = np.where(values == fill, np.nan, values)
    elif fill is not None and values.dtype.kind in "iu":
        told.setdefault("_FillValue", int(fill))
    return Coordinate(dims, values, told)


def _names(
    attributes: Mapping[str, Any], columns: Sequence[Column], sample_dims: Sequence[str]
) -> Iterator[str]:
    yield from sample_dims
    for told in (attributes, *(column.array.attrs for column in columns)):
        yield from _listed(told)


def _listed(attributes: Mapping[str, Any]) -> list[str]:
    listed = attributes.get("coordinates")
    return listed.split() if isinstance(listed, str) else []


def _dimensions(array: Any) -> tuple[str, ...] | None:
    if not hasattr(array, "shape"):  # nothing is there, or a group
        return None
    return dimensions(array) if array.shape else ()


def _attributes(array: Any) -> dict[str, Any]:
    return {name: value for name, value in dict(array.attrs).items() if name not in SAID_ELSEWHERE}
