"""What tells a stored Zarr array from another: its metadata and a few of its bytes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore, ZipStore

from dask_em.engine.fingerprint import digest
from dask_em.errors import SourceError

__all__ = ["metadata_of", "some_bytes", "stored_bytes", "when_written"]

#: stored chunks, evenly spread, and bytes of each that are looked at: values of other rows differ,
#: and with them compressed bytes
PROBED_CHUNKS, PROBED_BYTES = 4, 4096
#: files are looked at one by one in stores of at most so many
MOST_FILES = 1000
#: what a Zarr array tells about itself in its document, and what has no influence on its rows
DOCUMENTS = ("zarr.json", ".zarray")
IRRELEVANT = ("attributes", "consolidated_metadata")


def metadata_of(array: Any) -> str:
    """A short name for the metadata as they are stored now, attributes left out."""
    (document,) = _read(array, [DOCUMENTS[0] if array.metadata.zarr_format == 3 else DOCUMENTS[1]])
    if document is None:
        raise SourceError(f"the metadata of {array.store_path} are not there any more")
    told = json.loads(document)
    return digest({name: fact for name, fact in told.items() if name not in IRRELEVANT})


def some_bytes(array: Any) -> str:
    """A short name for the first bytes of a few stored chunks."""
    found = _read(array, _some_chunks(array), PROBED_BYTES)
    return digest([None if part is None else part.hex() for part in found])


def when_written(array: Any) -> str | None:
    """Another one whenever chunks are written; None where that is not told cheaply."""
    store = array.store
    if isinstance(store, ZipStore):
        return _stamps([Path(store.path)])
    if not isinstance(store, LocalStore):
        return None
    folder = Path(store.root, array.path)
    few = prod(_counts(array)) <= MOST_FILES
    return _stamps(_files(folder) if few else (folder / name for name in _some_chunks(array)))


def stored_bytes(arrays: Sequence[Any]) -> int | None:
    """Bytes on disk; None where that is not told cheaply."""
    files = sum(prod(_counts(array)) for array in arrays)
    if files > MOST_FILES or not all(isinstance(array.store, LocalStore) for array in arrays):
        return None
    return sum(int(array.nbytes_stored()) for array in arrays)


def _stamps(paths: Any) -> str:
    found = []
    for path in paths:
        try:
            told = os.stat(path)
        except FileNotFoundError:  # a chunk of nothing but fill values may have no file
            continue
        found.append([str(path), told.st_size, told.st_mtime_ns])
    return digest(sorted(found))


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in names if not _tells(name))


def _tells(name: str) -> bool:
    return name in DOCUMENTS or name.startswith(".z")


def _counts(array: Any) -> tuple[int, ...]:
    lengths = array.shards or array.chunks
    return tuple(-(-n // length) for n, length in zip(array.shape, lengths, strict=True))


def _some_chunks(array: Any) -> list[str]:
    counts = _counts(array)
    n = prod(counts)
    places = np.unique(np.linspace(0, n - 1, min(n, PROBED_CHUNKS)).astype(np.int64))
    cells = (np.unravel_index(place, counts) for place in places)
    return [array.metadata.encode_chunk_key(tuple(map(int, cell))) for cell in cells]


def _read(array: Any, keys: list[str], nbytes: int | None = None) -> list[bytes | None]:
    """The first bytes of some keys of an array, all requests at once."""
    prototype = default_buffer_prototype()
    wanted = None if nbytes is None else RangeByteRequest(0, nbytes)

    async def every() -> list[Any]:
        paths = [f"{array.path}/{key}".lstrip("/") for key in keys]
        return await asyncio.gather(*(array.store.get(p, prototype, wanted) for p in paths))

    try:
        found = sync(every())
    except SourceError:
        raise
    except Exception as error:  # a file system or a network may raise anything here
        raise SourceError(
            f"{array.store_path} cannot be read ({type(error).__name__}: {error}); check that it "
            "is still there"
        ) from error
    return [None if part is None else part.to_bytes() for part in found]
