"""Zarr arrays and groups as a source: formats 2 and 3, sharded or not, by path or object."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, final

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore, ZipStore

from dask_em.core.block import check_weights
from dask_em.core.records import Array
from dask_em.engine.fingerprint import Fingerprint, digest, probe
from dask_em.engine.source import Partition, Schema, Source
from dask_em.errors import SchemaError, SourceError
from dask_em.place import without_secrets
from dask_em.sources.cells import StoredPartition
from dask_em.sources.columns import (
    Column,
    column_of_array,
    columns_of_group,
    dimensions,
    feature_names,
    weight_column,
)
from dask_em.sources.grid import Grid
from dask_em.sources.paths import existing_path, is_url
from dask_em.sources.stored import metadata_of, some_bytes, when_written

__all__ = ["ZarrSource"]

#: small chunks are read together until they hold about this many bytes of rows
TARGET_BYTES = 16 * 2**20
#: a chunk of more bytes of rows than this is refused
LIMIT_BYTES = 512 * 2**20
#: arrays of a group in different chunks are read in common multiples up to this many bytes
JOINED_BYTES = 8 * TARGET_BYTES
#: rows of more bytes than that, which many chunks hold side by side, are read in parts of these
PART_BYTES = 4 * TARGET_BYTES
#: chunks, stored and decoded, that allocators keep for the threads that decode one after the other
#: (measured 300 MB for chunks of 20 MB, beside two blocks)
KEPT_CHUNKS = 8
#: chunks that are decoded so often in a pass are worth a warning
REPEATED = 2
#: stored bytes are counted only for stores of at most so many files
COUNTED_FILES = 1000


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
    ) -> None:
        self.schema = schema
        self._columns, self._weights = tuple(columns), weights
        self._grid, self._stored = grid, stored
        self.local = any(_is_local(column.array.store) for column in columns)

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
        grid = _grid(stores, row_bytes)
        _check_size(grid, row_bytes, limit_bytes, columns, where)
        whole, grid = grid, _cut(grid, row_bytes, columns)
        stored, grid = grid, grid.coarsen(row_bytes, min(TARGET_BYTES, limit_bytes))
        straddling = [column for column in stores if _decodings(column, grid) > 1]
        cut = stored is not whole
        if cut:
            _warn_of_parts(whole, grid, row_bytes, columns, where)
        else:
            _warn_of_straddling(straddling, columns[0], grid, where)
        schema = Schema(
            n_features=d,
            dtype=dtype,
            sample_shape=grid.shape,
            n_chunks=grid.n_cells,
            chunk_bytes=prod(grid.largest) * row_bytes,
            feature_names=feature_names(columns, coordinates),
            describe=f"Zarr {'array' if isinstance(node, zarr.Array) else 'group'} {where}",
            sample_chunks=grid.lengths,
            stored_bytes=_stored_bytes(columns),
            decoding_bytes=sum(map(_chunk_bytes, straddling)) * (KEPT_CHUNKS if cut else 1),
        )
        return cls(columns, grid, stored, weighed, schema)

    def partition(self, chunks: range) -> Partition:
        weights: Any = self._weights
        if isinstance(weights, np.ndarray):
            # pickled, a view takes only its own rows along
            weights = tuple(weights[self._grid.region(index)] for index in chunks)
        return StoredPartition(
            chunks, self._columns, self._grid, self._stored, weights, self.schema.dtype
        )

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


def _open(store: Any, storage_options: Mapping[str, Any] | None) -> Any:
    if isinstance(store, zarr.Array | zarr.Group):
        return store
    if isinstance(store, str) and is_url(store):
        opened: Any = store
    elif isinstance(store, str | os.PathLike):
        if storage_options:
            raise SchemaError(
                f"storage_options are for URLs, but {store} is a path; leave them out"
            )
        path = existing_path(store)
        zipped = path.is_file() and zipfile.is_zipfile(path)
        opened = ZipStore(path, mode="r") if zipped else str(path)
    else:
        opened = store
    shown = without_secrets(str(store))
    try:
        options = dict(storage_options) if storage_options else None
        return zarr.open(opened, mode="r", storage_options=options)
    except MemoryError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(
            f"{shown} holds no Zarr array or group (no zarr.json, .zarray or .zgroup there); give "
            "the path of the store itself"
        ) from error
    except Exception as error:
        # a file system, a network or a codec may raise anything here
        raise SourceError(
            f"{shown} cannot be opened as Zarr ({type(error).__name__}: {error}); check the "
            "address, storage_options, and that the packages of its file system are installed"
        ) from error


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
    if len(arrays) == 1 and (features is None or list(features) == list(arrays)):
        (array,) = arrays.values()
        return (column_of_array("", array, sample_dims),), {}
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


def _grid(columns: Sequence[Column], row_bytes: int) -> Grid:
    first, *others = [column.axes.sample_part(column.array.chunks) for column in columns]
    grid = Grid(columns[0].axes.sample_shape, tuple(max(1, length) for length in first))
    for other in others:
        # a chunk that straddles cells is decoded for each of them
        joined = grid.joined_with(other)
        if prod(joined.largest) * row_bytes <= JOINED_BYTES:
            grid = joined
    return grid


def _decodings(column: Column, grid: Grid) -> float:
    """How often each stored chunk is decoded in a pass: once for every cell that it touches."""
    mine = column.axes.sample_part(column.array.chunks)
    axes = zip(mine, grid.largest, grid.counts, strict=True)
    return prod(
        1.0 if count <= 1 or cell % own == 0 else own / cell + bool(own % cell)
        for own, cell, count in axes
    )


def _chunk_bytes(column: Column) -> int:
    return int(prod(column.array.chunks) * column.array.dtype.itemsize)


def _warn_of_straddling(
    straddling: Sequence[Column], first: Column, grid: Grid, where: str
) -> None:
    often = [column for column in straddling if _decodings(column, grid) >= REPEATED]
    if often:
        worst = max(often, key=lambda column: _decodings(column, grid))
        own, cells = worst.axes.sample_part(worst.array.chunks), grid.largest
        warnings.warn(
            f"array {worst.label} of {where} has chunks of {own} rows where {first.label} is read "
            f"{cells} at a time, so each is decoded about {_decodings(worst, grid):.0f} times a "
            f"pass; store both in the same chunks, e.g. {_rechunk([worst], cells, where)}",
            UserWarning,
            stacklevel=3,
        )


def _cut(grid: Grid, row_bytes: int, columns: Sequence[Column]) -> Grid:
    """Cells that are read in parts where long chunks hold few of the features each."""
    size = prod(grid.largest) * row_bytes
    if size <= JOINED_BYTES or 2 * max(map(_chunk_bytes, columns)) > size:
        return grid  # parts of a chunk that holds all of them save no memory
    return grid.shrink(row_bytes, PART_BYTES)


def _warn_of_parts(
    whole: Grid, parts: Grid, row_bytes: int, columns: Sequence[Column], where: str
) -> None:
    size, worst = prod(whole.largest) * row_bytes, max(columns, key=_chunk_bytes)
    often, chunks = _decodings(worst, parts), whole.shrink(row_bytes, TARGET_BYTES).largest
    warnings.warn(
        f"chunks of {where} hold {worst.axes.sample_part(worst.array.chunks)} rows and few of "
        f"their features; all features of these rows take {size / 2**20:,.0f} MiB, so "
        f"{parts.largest} rows are read at a time, and each chunk is decoded {often:.0f} times "
        f"a pass; store fewer rows in a chunk, e.g. {_rechunk(columns, chunks, where)}",
        UserWarning,
        stacklevel=3,
    )


def _check_size(
    grid: Grid, row_bytes: int, limit_bytes: int, columns: Sequence[Column], where: str
) -> None:
    size = prod(grid.largest) * row_bytes
    if size <= limit_bytes:
        return
    chunks = grid.shrink(row_bytes, min(TARGET_BYTES, limit_bytes)).largest
    raise SchemaError(
        f"one chunk of {where} holds {size / 2**20:,.0f} MiB of rows, the limit is "
        f"{limit_bytes / 2**20:,.0f} MiB; rechunk it first: {_rechunk(columns, chunks, where)}"
    )


def _rechunk(columns: Sequence[Column], chunks: tuple[int, ...], where: str) -> str:
    first = columns[0]
    dims = dimensions(first.array)
    if not first.name or dims is None:
        stored = first.axes.stored_chunks(chunks)
        return (
            f'zarr.from_array("rechunked.zarr", data=zarr.open_array("{where}", '
            f'path="{first.name}"), chunks={stored})'
        ).replace(', path=""', "")
    wanted = dict(zip(first.axes.sample_part(dims), chunks, strict=True))
    return f'xarray.open_zarr("{where}").drop_encoding().chunk({wanted}).to_zarr("rechunked.zarr")'


def _stored_bytes(columns: Sequence[Column]) -> int | None:
    files = sum(
        prod(-(-n // length) for n, length in zip(a.shape, a.shards or a.chunks, strict=True))
        for a in (column.array for column in columns)
    )
    stores = [column.array.store for column in columns]
    if files > COUNTED_FILES or not all(isinstance(store, LocalStore) for store in stores):
        return None
    return sum(int(column.array.nbytes_stored()) for column in columns)


def _is_local(store: Store) -> bool:
    while isinstance(store, WrapperStore):
        store = store._store
    if isinstance(store, FsspecStore):
        return "memory" in np.atleast_1d(getattr(store.fs, "protocol", ""))
    return isinstance(store, MemoryStore)
