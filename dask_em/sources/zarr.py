"""Zarr arrays and groups as a source: formats 2 and 3, sharded or not, by path or object."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, final

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import ZipStore

from dask_em.core.block import check_weights
from dask_em.core.records import Array
from dask_em.engine.ahead import remote_reads
from dask_em.engine.fingerprint import Fingerprint, digest, probe
from dask_em.engine.source import Coordinate, Partition, Schema, Source
from dask_em.errors import SchemaError, SourceError
from dask_em.remote.secrets import unless_secret, without_secrets
from dask_em.remote.store import open_store
from dask_em.sources.apart import addresses_of
from dask_em.sources.cells import StoredPartition
from dask_em.sources.columns import (
    Column,
    column_of_array,
    columns_of_group,
    feature_names,
    feature_units,
    sample_dimensions,
    weight_column,
)
from dask_em.sources.coordinates import coordinate_names, stored_coordinates
from dask_em.sources.grid import Grid
from dask_em.sources.paths import existing_path, is_url
from dask_em.sources.reach import any_local, any_remote, patiently_read
from dask_em.sources.stored import metadata_of, some_bytes, stored_bytes, when_written
from dask_em.sources.tiling import Tiling

__all__ = ["ZarrSource", "is_array"]

#: a chunk of more bytes of rows than this is refused
LIMIT_BYTES = 512 * 2**20


@final
class ZarrSource(Source):
    """Rows of a Zarr array, or of arrays of a group side by side. Made by `open`."""

    def __init__(
        self,
        columns: Sequence[Column],
        grid: Grid,
        stored: Grid,
        weights: Column | Array | None,
        schema: Schema,
        group: zarr.Group | None = None,
    ) -> None:
        self.schema = schema
        self._group = group
        self._columns, self._weights = tuple(columns), weights
        self._grid, self._stored = grid, stored
        arrays = [column.array for column in columns]
        self.local = any_local(arrays)
        if any_remote(arrays):
            self.reads_at_once = remote_reads(schema.chunk_bytes)

    @classmethod
    def open(
        cls,
        store: Any,
        *,
        features: Sequence[str] | None = None,
        sample_dims: Sequence[str] | None = None,
        weights: Any = None,
        storage_options: Mapping[str, Any] | None = None,
        limit_bytes: int = LIMIT_BYTES,
    ) -> ZarrSource:
        """Read the metadata of a store and decide its layout.

        Parameters
        ----------
        store : str, path, zarr.Array, zarr.Group or Zarr store
        features : sequence of str, optional
            The group's arrays that make up a row, in order. It may be left out for an array and
            for a group of one array.
        sample_dims : sequence of str, optional
            Dimensions that tell rows apart; the others are features. By default an array's last
            axis is features, and of several arrays each is one feature.
        weights : str, path, zarr.Array or array, optional
            Non-negative weight of each row, in the shape of the sample axes; a str may also name
            an array of the group. An array in memory goes out with every pass over a cluster:
            store large ones.
        storage_options : mapping, optional
            What fsspec needs to open a URL.
        limit_bytes : int
            The most bytes of rows that one chunk may hold.

        Raises
        ------
        SourceError
            If the store does not exist or is not Zarr.
        SchemaError
            If its arrays do not make rows: names, shapes, dtypes or chunks do not fit.
        """
        node = _open(store, storage_options)
        where = _where(store, node)
        columns, coordinates = _columns(node, features, sample_dims, where)
        weighed = None if weights is None else _weights(weights, node, columns[0], storage_options)
        d = sum(column.axes.n_features for column in columns)
        dtype = np.result_type(*(column.dtype for column in columns))
        row_bytes = d * dtype.itemsize + (0 if weighed is None else 8)
        stores = (*columns, weighed) if isinstance(weighed, Column) else columns
        tiling = Tiling.of(columns, stores, row_bytes, limit_bytes, where)
        grid = tiling.grid
        schema = Schema(
            n_features=d,
            dtype=dtype,
            sample_shape=grid.shape,
            n_chunks=grid.n_cells,
            chunk_bytes=prod(grid.largest) * row_bytes,
            feature_names=feature_names(columns, coordinates),
            describe=f"Zarr {'array' if isinstance(node, zarr.Array) else 'group'} {where}",
            sample_chunks=grid.lengths,
            stored_bytes=stored_bytes([column.array for column in columns]),
            decoding_bytes=tiling.decoding_bytes,
            sample_dims=sample_dimensions(columns),
            feature_units=feature_units(columns),
        )
        group = node if isinstance(node, zarr.Group) else None
        return cls(columns, grid, tiling.stored, weighed, schema, group)

    def partition(self, chunks: range) -> Partition:
        weights: Any = self._weights
        if isinstance(weights, np.ndarray):
            # pickled, a view takes only its own rows along
            weights = tuple(weights[self._grid.region(index)] for index in chunks)
        return StoredPartition(
            chunks,
            self._columns,
            self._grid,
            self._stored,
            weights,
            self.schema.dtype,
            reads_at_once=self.reads_at_once,
        )

    def addresses(self) -> set[tuple[str, ...]]:
        """Of what is read, so that no output is put there."""
        return addresses_of(column.array for column in self._columns)

    def coordinates(self) -> Mapping[str, Coordinate]:
        if self._group is None:
            return {}
        return stored_coordinates(self._group, self._columns, self.schema.sample_dims)

    def fingerprint(self) -> Fingerprint:
        columns, weights = list(self._columns), self._weights
        if isinstance(weights, Column):
            columns.append(weights)
        arrays = [column.array for column in columns]
        facts = {
            "stored form": digest([metadata_of(array) for array in arrays]),
            "packing": digest([str(column.packing) for column in columns]),
            "bytes": digest([some_bytes(array) for array in arrays]),
            "weights": probe(weights) if isinstance(weights, np.ndarray) else None,
        }
        return Fingerprint.of(self.schema, facts, digest([when_written(one) for one in arrays]))


def is_array(store: Any, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Whether a store is one array and not a group; errors are those of `ZarrSource.open`."""
    return isinstance(_open(store, storage_options), zarr.Array)


def _open(store: Any, storage_options: Mapping[str, Any] | None) -> Any:
    if isinstance(store, zarr.Array | zarr.Group):
        return patiently_read(store)
    shown = without_secrets(str(store))
    if isinstance(store, str) and is_url(store):
        with _telling(shown, storage_options):
            return _open_remote(open_store(store, storage_options, read_only=True))
    opened: Any = store
    if isinstance(store, str | os.PathLike):
        if storage_options:
            raise SchemaError(
                f"storage_options are for URLs, but {store} is a path; leave them out"
            )
        path = existing_path(store)
        zipped = path.is_file() and zipfile.is_zipfile(path)
        opened = ZipStore(path, mode="r") if zipped else str(path)
    with _telling(shown, storage_options):
        return patiently_read(zarr.open(opened, mode="r"))


def _open_remote(store: Store) -> Any:
    # one request where Zarr makes three, and seven for a group, to find out the format
    try:
        return zarr.open(store, mode="r", zarr_format=3)
    except FileNotFoundError:
        return zarr.open(store, mode="r", zarr_format=2)


@contextmanager
def _telling(shown: str, storage_options: Mapping[str, Any] | None) -> Iterator[None]:
    try:
        yield
    except (MemoryError, SourceError):
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(
            f"{shown} holds no Zarr array or group (no zarr.json, .zarray or .zgroup there); give "
            "the path of the store itself"
        ) from unless_secret(error)
    except Exception as error:
        # a file system, a network or a codec may raise anything here
        cause = without_secrets(f"{type(error).__name__}: {error}", storage_options)
        raise SourceError(
            f"{shown} cannot be opened as Zarr ({cause}); check the address and storage_options"
        ) from unless_secret(error)


def _where(store: Any, node: Any) -> str:
    if isinstance(store, str | os.PathLike):
        return without_secrets(str(os.fspath(store)))
    return without_secrets(str(node.store_path))


def _columns(
    node: Any, features: Sequence[str] | None, sample_dims: Sequence[str] | None, where: str
) -> tuple[tuple[Column, ...], Mapping[str, Any]]:
    """The columns, and the arrays that may be coordinates of their axes."""
    if isinstance(node, zarr.Array):
        if features is not None:
            raise SchemaError(
                f"features={list(features)} names arrays of a group, but {where} is one array; "
                "leave it out"
            )
        return (column_of_array("", node, sample_dims),), {}
    arrays = dict(node.arrays())
    # a group that dask_em or xarray wrote holds coordinates as well
    apart = coordinate_names(node.attrs, arrays)
    named = [name for name in arrays if name not in apart]
    if len(named) == 1 and (features is None or list(features) == list(arrays)):
        return (column_of_array("", arrays[named[0]], sample_dims),), {}
    if not features:
        raise SchemaError(_choose(arrays, node, where))
    chosen = {name: _member(node, arrays, name, where) for name in features}
    return columns_of_group(chosen, sample_dims), arrays


def _member(group: Any, arrays: Mapping[str, Any], name: str, where: str) -> Any:
    found = arrays[name] if name in arrays else group.get(name)
    if isinstance(found, zarr.Array):
        return found
    raise SchemaError(f"{where} holds no array {name!r}; {_choose(arrays, group, where)}")


def _choose(arrays: Mapping[str, Any], group: Any, where: str) -> str:
    if not arrays:
        groups = ", ".join(sorted(name for name, _ in group.groups())) or "nothing"
        return f"group {where} holds no arrays, but {groups}; give the path of a group with arrays"
    listed = ", ".join(f"{name} {array.shape}" for name, array in sorted(arrays.items()))
    return (
        f"group {where} holds {len(arrays)} arrays: {listed}; say which make up a row, e.g. "
        f"features={sorted(arrays, key=lambda name: (-arrays[name].ndim, name))[:2]}, and with "
        "sample_dims=[...] which dimensions tell rows apart"
    )


def _weights(
    weights: Any, node: Any, first: Column, storage_options: Mapping[str, Any] | None
) -> Column | Array:
    if isinstance(node, zarr.Group) and isinstance(weights, str) and not is_url(weights):
        member = node.get(weights)
        if isinstance(member, zarr.Array):
            return weight_column(member, first)
    if isinstance(weights, str | os.PathLike | zarr.Array):
        remote = isinstance(weights, str) and is_url(weights)
        array = _open(weights, storage_options if remote else None)
        if not isinstance(array, zarr.Array):
            raise SchemaError(f"sample_weight {weights} is a Zarr group; give one array of weights")
        return weight_column(array, first)
    shape, weights = first.axes.sample_shape, np.asarray(weights)
    flat = weights.reshape(-1) if weights.shape == shape else weights
    return check_weights(flat, prod(shape)).reshape(shape)
