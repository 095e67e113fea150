"""Reach: how far away a Zarr store lies, and patience with those that are far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, MemoryStore, ObjectStore, StorePath, WrapperStore

from dask_em.remote.store import patient

__all__ = ["any_local", "any_remote", "patiently_read"]


def any_local(arrays: Iterable[Any]) -> bool:
    """Whether one of some Zarr arrays lies in the memory of this process, and no other has it."""
    return any(_is_local(array.store) for array in arrays)


def any_remote(arrays: Iterable[Any]) -> bool:
    """Whether requests to one of some Zarr arrays wait for the answer of another machine."""
    return any(_is_remote(array.store) for array in arrays)


def patiently_read(node: Any) -> Any:
    """A zarr.Array or zarr.Group that somebody opened, with a store as `open_store` opens it.

    As it was opened, a bucket that is not there would be all fill values, and a chunk that is
    denied or late a bad one. What is not behind fsspec, or near, is left as it is.
    """
    if not isinstance(node.store, FsspecStore) or not _is_remote(node.store):
        return node
    place = StorePath(patient(node.store), node.path)
    if isinstance(node, zarr.Group):
        return zarr.Group(zarr.AsyncGroup(node.metadata, place))
    return zarr.Array(zarr.AsyncArray(node.metadata, place, node.async_array.config))


def _is_local(store: Store) -> bool:
    store = _innermost(store)
    return isinstance(store, MemoryStore) or "memory" in _protocols(store)


def _is_remote(store: Store) -> bool:
    store = _innermost(store)
    here = {"file", "local", "memory"}
    return isinstance(store, FsspecStore | ObjectStore) and not here & _protocols(store)


def _innermost(store: Store) -> Store:
    while isinstance(store, WrapperStore):
        store = store._store
    return store


def _protocols(store: Store) -> set[str]:
    if not isinstance(store, FsspecStore):
        return set()
    return set(np.atleast_1d(getattr(store.fs, "protocol", "")).tolist())
