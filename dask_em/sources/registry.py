"""open_source: loose input becomes a Source, once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dask_em.engine.source import Source
from dask_em.errors import SchemaError, SourceError
from dask_em.mapping.chain import Chain
from dask_em.sources.arrays import NumpySource
from dask_em.sources.mapped import MappedSource
from dask_em.sources.refusals import (
    check_where,
    is_object,
    name_of,
    refuse_selection,
    reject_lazy,
)
from dask_em.sources.tabular import has_named_columns, take_columns

__all__ = [
    "in_memory",
    "is_one_array",
    "is_stored",
    "is_table",
    "open_source",
    "parquet_source",
    "selectable",
]

#: libraries whose objects are opened, not converted
LAZY = frozenset({"dask", "pyarrow", "xarray", "zarr"})
ACCEPTED = (
    "a NumPy array or what converts to one (list, pandas DataFrame), a dask array or DataFrame, an "
    "xarray Dataset or DataArray, a path or URL of a Zarr store, of Parquet or of NetCDF, a "
    "zarr.Array or zarr.Group, a pyarrow Dataset, or a dask_em Source"
)


def open_source(
    data: Any,
    *,
    sample_weight: Any = None,
    features: Sequence[str] | str | None = None,
    sample_dims: Sequence[str] | str | None = None,
    where: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mapping: Any = None,
) -> Source:
    """A Source for rows given in any of the accepted ways. Reads metadata and no rows.

    Parameters
    ----------
    data : array-like, dask array or DataFrame, str, path, list of paths, or object of a library
        Where the rows lie; features along the last axis. A path or URL may be that of a Zarr
        store, of a NetCDF file, or of Parquet: a file, a folder, or a glob.
    sample_weight : array-like, optional
        Non-negative weight of each row, in the shape of the sample axes. For a dask array also a
        dask array; for Zarr also a path, a zarr.Array, or the name of an array of the group; for
        xarray also a DataArray of some of the sample dimensions, or the name of a variable; for
        Parquet and data frames also the name of a column.
    features : sequence of str, optional
        The arrays of a Zarr group, the variables of a Dataset, or the columns of a table that make
        up a row. Columns are also named by patterns such as ``temp*``.
    sample_dims : sequence of str, optional
        The dimensions of Zarr or xarray arrays that tell rows apart; the others are features.
    where : str, optional
        Which rows of Parquet are read, such as ``"depth < 1000 and year >= 2010"``.
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
    source = _opened(
        data, sample_weight, _listed(features), _listed(sample_dims), where, storage_options
    )
    chain = Chain.of(mapping)
    return MappedSource(source, chain) if chain else source


def _opened(
    data: Any,
    weights: Any,
    features: list[str] | None,
    sample_dims: list[str] | None,
    where: str | None,
    storage_options: Mapping[str, Any] | None,
) -> Source:
    # the libraries are imported only where their data are used: each costs a fraction of a second
    kind = _kind_of(data, storage_options)
    if kind == "parquet":
        refuse_selection(data, sample_dims=sample_dims)
        source: Source = parquet_source().open(
            data,
            features=features,
            weights=weights,
            where=where,
            storage_options=storage_options,
        )
        return source
    check_where(data, where)
    named: dict[str, Any] = {"features": features, "sample_dims": sample_dims, "weights": weights}
    if kind == "zarr":
        from dask_em.sources.zarr import ZarrSource

        return ZarrSource.open(data, **named, storage_options=storage_options)
    if kind == "netcdf":
        from dask_em.sources.xarray.source import XarraySource

        return XarraySource.open_file(data, **named, storage_options=storage_options)
    refuse_selection(data, storage_options=storage_options)
    if kind == "xarray":
        from dask_em.sources.xarray.source import XarraySource

        return XarraySource.open(data, **named)
    refuse_selection(data, sample_dims=sample_dims)
    if kind == "dask frame":
        from dask_em.sources.frames import FrameSource

        return FrameSource(data, features, weights)
    if has_named_columns(data) and features is not None:
        data, features = take_columns(data, features), None
    refuse_selection(data, features=features)
    if isinstance(data, Source):
        refuse_selection(data, sample_weight=weights)
        return data
    if kind == "dask array":
        from dask_em.sources.dask import DaskSource

        return DaskSource(data, weights)
    return NumpySource(_array(data), weights, _column_names(data))


def _kind_of(data: Any, storage_options: Mapping[str, Any] | None) -> str | None:
    """What is opened, and how; None for rows in memory and sources."""
    if isinstance(data, str | os.PathLike):
        from dask_em.sources.kinds import stored_kind

        return stored_kind(data, storage_options)
    if _is_paths(data):
        return "parquet"
    return next(
        (kind for kind, homes in KINDS.items() for home in homes if is_object(data, *home)), None
    )


#: the objects of each kind, by module and names
KINDS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "parquet": (("pyarrow.dataset", "Dataset"),),
    "zarr": (("zarr", "Array", "Group"), ("zarr.abc.store", "Store")),
    "xarray": (("xarray", "Dataset", "DataArray"),),
    "dask frame": (("dask.dataframe", "DataFrame"),),
    "dask array": (("dask.array", "Array"),),
}


def in_memory(data: Any) -> bool:
    """Whether data are rows that NumPy understands, rather than a store or a lazy container."""
    home = type(data).__module__.partition(".")[0]
    return home not in LAZY and not is_stored(data) and not isinstance(data, Source)


def is_stored(data: Any) -> bool:
    """Whether data are a path or URL, or several."""
    return isinstance(data, str | os.PathLike) or _is_paths(data)


def selectable(data: Any) -> bool:
    """Whether features of the data can be selected: a Source and a dask array have them all."""
    return not isinstance(data, Source) and not is_object(data, "dask.array", "Array")


def is_one_array(data: Any, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Whether data are one array, of Zarr or xarray, of which nothing is selected by name."""
    if is_object(data, "xarray", "DataArray"):
        return True
    if _kind_of(data, storage_options) != "zarr":
        return False
    from dask_em.sources.zarr import is_array

    return is_array(data, storage_options)


def is_table(data: Any, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Whether data have columns, and no dimensions."""
    return _kind_of(data, storage_options) in ("parquet", "dask frame")


def parquet_source() -> Any:
    """The class ParquetSource.

    Raises
    ------
    SourceError
        If pyarrow is not installed.
    """
    try:
        from dask_em.sources.parquet.source import ParquetSource
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pyarrow":
            raise
        raise SourceError(
            "Parquet is read by pyarrow, which is not installed; pip install 'dask_em[parquet]'"
        ) from error
    return ParquetSource


def _is_paths(data: Any) -> bool:
    return (
        isinstance(data, list | tuple)
        and bool(data)
        and all(isinstance(one, str | os.PathLike) for one in data)
    )


def _listed(names: Sequence[str] | str | None) -> list[str] | None:
    return None if names is None else [names] if isinstance(names, str) else list(names)


def _array(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        return data
    reject_lazy(data)
    if not (hasattr(data, "__array__") or isinstance(data, Sequence)) or isinstance(data, bytes):
        raise SchemaError(f"{name_of(data)} is no place of rows; give {ACCEPTED}")
    try:
        return np.asarray(data)
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"{name_of(data)} cannot be converted to an array ({error}); give {ACCEPTED}"
        ) from error


def _column_names(data: Any) -> tuple[str, ...] | None:
    columns = getattr(data, "columns", None)
    if columns is None or not all(isinstance(name, str) for name in columns):
        return None
    return tuple(str(name) for name in columns)
