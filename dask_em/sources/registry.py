"""open_source: loose input becomes a Source, once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dask_em.engine.source import Source
from dask_em.errors import SchemaError
from dask_em.mapping.chain import Chain
from dask_em.sources.arrays import NumpySource
from dask_em.sources.frames import columns_of_frame, is_frame
from dask_em.sources.mapped import MappedSource

__all__ = ["in_memory", "is_one_array", "open_source", "refuse_selection", "selectable"]

#: libraries whose objects are opened, not converted
LAZY = frozenset({"dask", "pyarrow", "xarray", "zarr"})
ACCEPTED = (
    "a NumPy array or what converts to one (list, pandas DataFrame), a dask array, an xarray "
    "Dataset or DataArray, a path or URL of a Zarr store, a zarr.Array or zarr.Group, or a "
    "dask_em Source"
)


def open_source(
    data: Any,
    *,
    sample_weight: Any = None,
    features: Sequence[str] | str | None = None,
    sample_dims: Sequence[str] | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mapping: Any = None,
) -> Source:
    """A Source for rows given in any of the accepted ways. Reads metadata and no rows.

    Parameters
    ----------
    data : array-like, dask array, xarray object, str, path, zarr object or Source
        Where the rows lie; features along the last axis.
    sample_weight : array-like, optional
        Non-negative weight of each row, in the shape of the sample axes. For a dask array also a
        dask array, for Zarr also a path, a zarr.Array, or the name of an array of the group. For
        xarray also a DataArray of some of the sample dimensions, or the name of a variable.
    features : sequence of str, optional
        The arrays of a Zarr group, the variables of a Dataset, or the columns of a data frame that
        make up a row.
    sample_dims : sequence of str, optional
        The dimensions of Zarr or xarray arrays that tell rows apart; the others are features.
    storage_options : mapping, optional
        What fsspec needs to open a URL.
    mapping : sequence of steps, optional
        What is done to the rows, e.g. ``[Log(["chlorophyll"])]`` or ``fitted.mapping_``.

    Raises
    ------
    SchemaError
        If the data are of no accepted kind, or their shape, dtype or names do not fit.
    SourceError
        If a store does not exist or cannot be opened.
    DataError
        If weights in memory are negative or not finite, or none is positive.
    """
    source = _opened(data, sample_weight, _listed(features), _listed(sample_dims), storage_options)
    chain = Chain.of(mapping)
    return MappedSource(source, chain) if chain else source


def _opened(
    data: Any,
    sample_weight: Any,
    features: list[str] | None,
    sample_dims: list[str] | None,
    storage_options: Mapping[str, Any] | None,
) -> Source:
    # the libraries are imported only where their data are used: each costs a fraction of a second
    if isinstance(data, str | os.PathLike) or _is_zarr(data):
        from dask_em.sources.zarr import ZarrSource

        return ZarrSource.open(
            data,
            features=features,
            sample_dims=sample_dims,
            weights=sample_weight,
            storage_options=storage_options,
        )
    if _is(data, "xarray", "Dataset", "DataArray"):
        from dask_em.sources.xarray import XarraySource

        refuse_selection(data, storage_options=storage_options)
        return XarraySource.open(
            data, features=features, sample_dims=sample_dims, weights=sample_weight
        )
    if is_frame(data) and features is not None:
        data, features = columns_of_frame(data, features), None
    refuse_selection(
        data, features=features, sample_dims=sample_dims, storage_options=storage_options
    )
    if isinstance(data, Source):
        refuse_selection(data, sample_weight=sample_weight)
        return data
    if _is(data, "dask.array", "Array"):
        from dask_em.sources.dask import DaskSource

        return DaskSource(data, sample_weight)
    return NumpySource(_array(data), sample_weight, _column_names(data))


def in_memory(data: Any) -> bool:
    """Whether data are rows that NumPy understands, rather than a store or a lazy container."""
    home = type(data).__module__.partition(".")[0]
    return home not in LAZY and not isinstance(data, str | os.PathLike | Source)


def selectable(data: Any) -> bool:
    """Whether features of the data can be selected: a Source and a dask array have them all."""
    return not isinstance(data, Source) and not _is(data, "dask.array", "Array")


def is_one_array(data: Any, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Whether data are one Zarr array, in which no feature has a name."""
    if not (isinstance(data, str | os.PathLike) or _is_zarr(data)):
        return False
    from dask_em.sources.zarr import is_array

    return is_array(data, storage_options)


def _is(data: Any, module: str, *names: str) -> bool:
    # data of a library exist only where it has been imported
    loaded = sys.modules.get(module)
    return loaded is not None and any(
        isinstance(data, getattr(loaded, name)) for name in names if hasattr(loaded, name)
    )


def _is_zarr(data: Any) -> bool:
    return _is(data, "zarr", "Array", "Group") or _is(data, "zarr.abc.store", "Store")


def _listed(names: Sequence[str] | str | None) -> list[str] | None:
    return None if names is None else [names] if isinstance(names, str) else list(names)


def refuse_selection(data: Any, **given: Any) -> None:
    """Refuse what has no meaning for data of a kind, by its name as an argument."""
    for name, value in given.items():
        if value is not None:
            raise SchemaError(
                f"{name}= was given with {_kind(data)}, where it has no meaning; leave it out"
                + (", or give the weights to the source itself" if name == "sample_weight" else "")
            )


def _array(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        return data
    _reject_lazy(data)
    if not (hasattr(data, "__array__") or isinstance(data, Sequence)) or isinstance(data, bytes):
        raise SchemaError(f"{_kind(data)} is no place of rows; give {ACCEPTED}")
    try:
        return np.asarray(data)
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"{_kind(data)} cannot be converted to an array ({error}); give {ACCEPTED}"
        ) from error


def _reject_lazy(data: Any) -> None:
    """Refuse what NumPy would load as a whole, or wrap as one object."""
    kind = _kind(data)
    if kind.startswith("xarray."):
        raise SchemaError(f"{kind} is not accepted as it is; pass a Dataset or a DataArray")
    if kind.startswith("dask."):
        raise SchemaError(
            f"{kind} is not accepted as it is; pass a dask array, e.g. .to_dask_array(lengths=True)"
        )
    if kind.startswith("scipy.sparse"):
        raise SchemaError(
            f"Sparse data was passed ({kind}), but dense data is required. Use '.toarray()' to "
            "convert to a dense array, if it fits into memory"
        )


def _kind(data: Any) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")


def _column_names(data: Any) -> tuple[str, ...] | None:
    columns = getattr(data, "columns", None)
    if columns is None or not all(isinstance(name, str) for name in columns):
        return None
    return tuple(str(name) for name in columns)
