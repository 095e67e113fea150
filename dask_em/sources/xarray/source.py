"""xarray Datasets and DataArrays as a source: in memory, lazily indexed, or computed by dask."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, final

import numpy as np
import xarray as xr

from dask_em.engine.ahead import remote_reads
from dask_em.engine.fingerprint import Fingerprint, digest, probe
from dask_em.engine.query import Query
from dask_em.engine.source import Coordinate, Partition, Schema, Source
from dask_em.errors import SchemaError
from dask_em.remote.secrets import without_secrets
from dask_em.sources.apart import addresses_of
from dask_em.sources.columns import Column
from dask_em.sources.graph import Graph, optimized, shares_work, upstream
from dask_em.sources.reach import any_local, any_remote
from dask_em.sources.stored import metadata_of, some_bytes, when_written
from dask_em.sources.tiling import Tiling
from dask_em.sources.xarray.computed import Computed
from dask_em.sources.xarray.files import open_dataset
from dask_em.sources.xarray.labelled import Labels
from dask_em.sources.xarray.lazy import Lazy
from dask_em.sources.xarray.parts import (
    bare,
    bytes_of,
    names_of,
    part_of,
    tiling_of,
    units_of,
    weighing_of,
)
from dask_em.sources.xarray.pieces import ViewPartition, narrowed
from dask_em.sources.xarray.variables import Chosen, choose
from dask_em.sources.xarray.views import Resident, StoredView

__all__ = ["XarraySource"]

#: a stored chunk of more bytes of rows than this is refused
LIMIT_BYTES = 512 * 2**20


@final
class XarraySource(Source):
    """Rows of variables of an xarray Dataset, or of a DataArray. Made by `open`.

    Variables in memory are rows in memory. What xarray opened from a store, and perhaps cut, is
    read in regions of many stored chunks, whatever chunks it was opened with. Everything else, what
    was rechunked included, is a dask graph, of which each partition carries the part that its
    chunks need.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        weights: Column | None,
        tiling: Tiling,
        graph: Graph,
        schema: Schema,
        labelling: Labels,
    ) -> None:
        self.schema = schema
        self._columns, self._weights = tuple(columns), weights
        self._tiling, self._graph, self._labels = tiling, graph, labelling
        self._resident = not labelling.chunks and all(
            isinstance(bare(column), Resident) for column in columns
        )
        stored = [array for column in self._every for array in column.array.stored()]
        self.local = self._resident or any_local(stored)
        if any_remote(stored):
            self.reads_at_once = remote_reads(schema.chunk_bytes)
        self.shares_work = bool(graph) and shares_work(
            graph,
            map(self._keys, range(schema.n_chunks)),
            (f"chunks of {schema.describe}", "chunk"),
            ".persist()",
            ".to_zarr(path), and fit xarray.open_zarr(path)",
            stacklevel=4,
        )

    @classmethod
    def open(
        cls,
        data: Any,
        *,
        features: Sequence[str] | None = None,
        sample_dims: Sequence[str] | None = None,
        weights: Any = None,
        limit_bytes: int = LIMIT_BYTES,
    ) -> XarraySource:
        """Decide the layout of the rows. Labels of features are read, and no values.

        Parameters
        ----------
        data : xarray.Dataset or xarray.DataArray
        features : sequence of str, optional
            Variables of a Dataset that make up a row, in order; coordinates may be among them. By
            default all numeric data variables that have all sample dimensions.
        sample_dims : sequence of str, optional
            Dimensions that tell rows apart; further ones of a variable are features, such as levels
            or ensemble members. A variable that lacks some is repeated along them. By default those
            of the variables, which must all have the same; of a DataArray, all but the last.
        weights : str, xarray.DataArray or array, optional
            Non-negative weight of each row. A DataArray, or the variable of the Dataset that has a
            name, may have some of the sample dimensions, and is repeated along the others; its
            labels must be those of the data. An array has the shape of the sample dimensions.
        limit_bytes : int
            The most bytes of rows that one stored chunk may hold.

        Raises
        ------
        SchemaError
            If variables do not make rows: names, dimensions, labels, dtypes or chunks do not fit.
        DataError
            If weights in memory are negative or not finite, or none is positive.
        """
        where = _where(data)
        dataset, chosen = _chosen(data, features, sample_dims, where)
        parts = [part_of(name, dataset.variables[name], dataset, chosen) for name in chosen.names]
        weighing = weighing_of(weights, dataset, chosen, where)
        weighed = None if weighing is None else part_of("of weights", weighing, dataset, chosen)
        columns = [part.column for part in parts]
        where = _stored_where(data, columns) or where
        d = sum(column.axes.n_features for column in columns)
        dtype = np.result_type(*(column.dtype for column in columns))
        row_bytes = d * dtype.itemsize + (0 if weighed is None else 8)
        every = parts if weighed is None else [*parts, weighed]
        tiling = tiling_of(every, len(parts), row_bytes, limit_bytes, where)
        graphs = [part.graph for part in every if part.graph is not None]
        schema = Schema(
            n_features=d,
            dtype=dtype,
            sample_shape=tiling.grid.shape,
            n_chunks=tiling.grid.n_cells,
            chunk_bytes=prod(tiling.grid.largest) * row_bytes,
            feature_names=names_of(data, columns, dataset),
            describe=where,
            sample_chunks=tiling.grid.lengths,
            stored_bytes=bytes_of(columns),
            decoding_bytes=tiling.decoding_bytes,
            sample_dims=tuple(map(str, chosen.sample_dims)),
            feature_units=units_of(columns, chosen, dataset),
        )
        return cls(
            columns,
            None if weighed is None else weighed.column,
            tiling,
            optimized(graphs) if graphs else {},
            schema,
            Labels.of(data, dataset, chosen, columns),
        )

    @classmethod
    def open_file(
        cls,
        path: str | os.PathLike[str],
        *,
        features: Sequence[str] | None = None,
        sample_dims: Sequence[str] | None = None,
        weights: Any = None,
        storage_options: Mapping[str, Any] | None = None,
        limit_bytes: int = LIMIT_BYTES,
        **options: Any,
    ) -> XarraySource:
        """The rows of a file that `xarray.open_dataset` reads, such as NetCDF; see `open`.

        Parameters
        ----------
        path : str, path or URL
        storage_options : mapping, optional
            What fsspec needs to open a URL, whose file is read through it.
        **options
            For `xarray.open_dataset`, e.g. ``engine`` or ``group``.

        Raises
        ------
        SourceError
            If the file does not exist or cannot be read.
        """
        dataset = open_dataset(path, storage_options, **options)
        return cls.open(
            dataset,
            features=features,
            sample_dims=sample_dims,
            weights=weights,
            limit_bytes=limit_bytes,
        )

    def partition(self, chunks: range) -> Partition:
        columns, weights = self._columns, self._weights
        if not self._resident:
            regions = [self._tiling.grid.region(index) for index in chunks]
            columns = tuple(narrowed(column, regions) for column in columns)
            weights = None if weights is None else narrowed(weights, regions)
        return ViewPartition(
            chunks,
            columns,
            weights,
            self._tiling,
            upstream(self._graph, [key for index in chunks for key in self._keys(index)]),
            self.schema.dtype,
            self.schema.describe,
            self._resident,
            reads_at_once=self.reads_at_once,
        )

    def fingerprint(self) -> Fingerprint:
        views = [bare(column) for column in self._every]
        stored = [view for view in views if isinstance(view, StoredView)]
        lazy = [view for view in views if isinstance(view, Lazy)]
        facts = {
            "stored form": digest([metadata_of(view.array) for view in stored]),
            "packing": digest([f"{view.packing} {view.box}" for view in stored]),
            "bytes": digest([some_bytes(view.array) for view in stored]),
            "read by xarray": digest([view.some() for view in lazy]),
            "in memory": digest([probe(one.values) for one in views if isinstance(one, Resident)]),
            "computations": digest([one.name for one in views if isinstance(one, Computed)]),
        }
        written = [when_written(view.array) for view in stored]
        written += [view.when_written() for view in lazy]
        return Fingerprint.of(self.schema, facts, digest(written))

    def addresses(self) -> set[tuple[str, ...]]:
        """Of Zarr stores that are read, so that no output is put there."""
        return addresses_of(a for column in self._columns for a in column.array.stored())

    def coordinates(self) -> Mapping[str, Coordinate]:
        return self._labels.coordinates()

    def labelled(self, answers: Any, query: Query) -> Any:
        return self._labels.put_on(answers, query)

    @property
    def _every(self) -> tuple[Column, ...]:
        return self._columns if self._weights is None else (*self._columns, self._weights)

    def _keys(self, index: int) -> list[Any]:
        region = self._tiling.grid.region(index)
        pairs = ((column, column.axes.selection(region)) for column in self._every)
        return [key for column, selection in pairs for key in column.array.needed(selection)]


def _where(data: Any) -> str:
    kind = f"xarray {type(data).__name__}"
    path = data.encoding.get("source")
    if path:
        return f"{kind} of {without_secrets(str(path))}"
    name = f" {data.name!r}" if isinstance(data, xr.DataArray) and data.name is not None else ""
    sizes = ", ".join(f"{dim}: {length}" for dim, length in data.sizes.items())
    return f"{kind}{name} ({sizes})"


def _stored_where(data: Any, columns: Sequence[Column]) -> str | None:
    """The data in words, with the store that they are read from; None where that is not known."""
    arrays = [array for column in columns for array in column.array.stored()]
    if not arrays or data.encoding.get("source"):
        return None
    place = str(arrays[0].store_path).removesuffix(f"/{arrays[0].path}").removeprefix("file://")
    return f"xarray {type(data).__name__} of {without_secrets(place)}"


def _chosen(
    data: Any, features: Sequence[str] | None, sample_dims: Sequence[str] | None, where: str
) -> tuple[xr.Dataset, Chosen]:
    if isinstance(data, xr.Dataset):
        return data, choose(data, features, sample_dims, where)
    if features is not None:
        raise SchemaError(
            f"features={list(features)} names variables of a Dataset, but {where} is one array; "
            "leave it out, or select with .sel(...)"
        )
    if sample_dims is None:
        if data.ndim < 2:
            raise SchemaError(
                f"{where} has {data.ndim} dimension(s) and no features: the last dimension is "
                "features unless sample_dims tells others; pass sample_dims=[...] with all "
                "dimensions if each value is a row"
            )
        sample_dims = [str(dim) for dim in data.dims[:-1]]
    # a name that no coordinate has
    name = data.name if data.name is not None and data.name not in data.coords else "values"
    dataset = data.to_dataset(name=name)
    return dataset, choose(dataset, [name], sample_dims, where)
