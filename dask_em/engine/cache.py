"""Cache: decoded chunks of one fit, pinned in the memory of the process that read them.

What is pinned stays. A pass reads chunks in a circle, and there a cache that makes room by
forgetting the oldest forgets each chunk just before it is wanted again.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, final
from weakref import WeakValueDictionary

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.source import Chunk

__all__ = ["Cache", "Pins", "hold"]

#: what a chunk takes beside its arrays, bytes
CHUNK_BYTES = 2000
#: arrays from this size on get pages of their own; a process may have some 65,000 such pieces
PAGES_BYTES = 1 << 20


@dataclass(frozen=True)
class Cache:
    """What one fit may pin in each process that reads for it; travels with its tasks.

    Parameters
    ----------
    token : str
        Of the fit; chunks are found by it and their index among the fit's one source.
    nbytes : int
        Most bytes in one process.
    """

    token: str
    nbytes: int

    def find(self, index: int) -> Chunk | None:
        """The chunk, if this process pinned it."""
        pins = _held.get(self.token)
        return None if pins is None else pins.find(index)

    def keep(self, chunk: Chunk) -> None:
        """Pin a chunk that was just read, if this process holds pins and there is room."""
        pins = _held.get(self.token)
        if pins is not None:
            pins.keep(chunk)


@final
class Pins:
    """Pinned chunks. They are freed when nobody holds this any more."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.pinned_bytes = nbytes, 0
        self._chunks: dict[int, Chunk] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # a worker that writes what it holds to disk, to free memory, or gives it to another is
        # rid of the chunks, which are in the store anyway
        return Pins, (0,)

    def find(self, index: int) -> Chunk | None:
        return self._chunks.get(index)

    def keep(self, chunk: Chunk) -> None:
        masked = 0 if chunk.kept is None else chunk.kept.nbytes
        size = chunk.block.nbytes + masked + CHUNK_BYTES
        with _lock:
            if chunk.index in self._chunks or size > self._room():
                return
            # taken before the copy is made, so that two threads do not take the same room
            self.pinned_bytes += size
        # where the system has no more memory the room stays taken: there is none
        with suppress(MemoryError, OSError):
            self._chunks[chunk.index] = _pinned(chunk)

    def _room(self) -> int:
        # fits side by side share the memory; who comes first has it
        return self.nbytes - sum(pins.pinned_bytes for pins in list(_held.values()))


_lock = Lock()
_held: WeakValueDictionary[str, Pins] = WeakValueDictionary()


def hold(cache: Cache) -> Pins:
    """The pins of a cache in this process; chunks are pinned as long as the caller holds them."""
    with _lock:
        pins = _held.get(cache.token)
        if pins is None:
            pins = _held[cache.token] = Pins(cache.nbytes)
        return pins


def _pinned(chunk: Chunk) -> Chunk:
    """A copy that owns its memory and cannot be written to.

    What was read may be a view of something larger, and a block that stays among others that come
    and go would keep the heap from shrinking.
    """
    block = chunk.block
    weights = None if block.weights is None else _copied(block.weights)
    kept = None if chunk.kept is None else _copied(chunk.kept)
    copied = Block(_copied(block.values), weights)
    return Chunk(chunk.index, chunk.name, copied, chunk.region, kept)


def _copied(array: Array) -> Array:
    if array.nbytes < PAGES_BYTES:
        copy = np.array(array, order="C")
    else:
        copy = np.ndarray(array.shape, array.dtype, _pages(array.nbytes))
        copy[...] = array
    copy.flags.writeable = False
    return copy


def _pages(nbytes: int) -> mmap.mmap:
    """Memory that goes back to the system when it is freed."""
    if sys.platform == "win32":
        return mmap.mmap(-1, nbytes)
    # the default is to share it with children, which takes half as long again to fill
    return mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
