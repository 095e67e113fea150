"""The arrays of a saved model: ``components.means`` lies at ``components/means``, in few chunks.

They are written and read several at a time and without asking what is there: each request waits
for the answer of a store that may be far away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.core.sync import sync
from zarr.errors import NodeTypeValidationError
from zarr.storage import MemoryStore, StorePath

from dask_em.core.records import Array
from dask_em.errors import ArchiveError

__all__ = ["digest", "read_arrays", "storable", "write_arrays"]

T = TypeVar("T")

#: the largest chunk in which an array is stored
CHUNK_BYTES = 64 * 2**20
#: so many objects are written, or arrays read, at a time
AT_ONCE = 8


def storable(name: str, values: Array) -> Array:
    """The values in the byte order in which they are stored.

    Raises
    ------
    ArchiveError
        If they are not booleans or numbers.
    """
    if values.dtype.kind not in "biufc" or values.dtype.itemsize > 16 or values.dtype.char in "gG":
        raise ArchiveError(
            f"the array {name!r} has dtype {values.dtype}, which cannot be archived; use booleans "
            "or numbers of at most 64 bits, and tuples for strings"
        )
    return np.asarray(values, dtype=values.dtype.newbyteorder("<"), order="C")


def digest(values: Array) -> str:
    """SHA-256 of the bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data).hexdigest()


def write_arrays(store: Store, folder: str, arrays: Mapping[str, Array]) -> None:
    """Write arrays, and the groups that they are in, into a folder where nothing is."""
    nodes = {_path(folder, name): _metadata(values) for name, values in arrays.items()}
    documents: dict[str, Any] = {}
    # made in memory, where looking for the groups above each array waits for nobody
    list(zarr.create_hierarchy(store=MemoryStore(documents), nodes=nodes))
    documents.pop("zarr.json", None)  # of the root, which there is

    def write_document(key: str) -> None:
        sync(store.set(key, documents[key]))

    def write_array(name: str) -> None:
        path = _path(folder, name)
        config: Any = {"write_empty_chunks": True}  # so that a chunk that is missing was lost
        made = zarr.AsyncArray(nodes[path], StorePath(store, path), config)
        zarr.Array(made)[...] = arrays[name]

    _for_each(write_document, documents)
    _for_each(write_array, arrays)


def read_arrays(store: Store, folder: str, names: Iterable[str]) -> dict[str, Array | None]:
    """The arrays of these names; None for those that are not there."""

    def read(name: str) -> Array | None:
        try:
            stored = zarr.open_array(store, path=_path(folder, name), mode="r", zarr_format=3)
        except (FileNotFoundError, NodeTypeValidationError):
            return None
        return np.asarray(stored[...])

    names = list(names)
    return dict(zip(names, _for_each(read, names), strict=True))


def _for_each(call: Callable[[str], T], names: Iterable[str]) -> list[T]:
    """What a call returns for each name, several at a time."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="em-archive") as pool:
        return list(pool.map(call, names))


def _metadata(values: Array) -> Any:
    """How an array is stored."""
    return zarr.create_array(
        {}, shape=values.shape, dtype=values.dtype, chunks=_chunks(values), zarr_format=3
    ).metadata


def _path(folder: str, name: str) -> str:
    return f"{folder}/{name.replace('.', '/')}".lstrip("/")


def _chunks(values: Array) -> tuple[int, ...]:
    shape = tuple(max(1, length) for length in values.shape)  # Zarr has no empty chunks
    if values.nbytes <= CHUNK_BYTES:
        return shape
    return (max(1, CHUNK_BYTES * shape[0] // values.nbytes), *shape[1:])
