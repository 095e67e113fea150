"""The file that tells an output of dask_em that is no Zarr group, and says whether it is whole."""

from __future__ import annotations

import json
from typing import Any

import fsspec

from dask_em.place import LocalPlace, Place, RemotePlace

__all__ = ["MARK_FILE", "location_of", "mark_in", "write_mark"]

#: readers of Parquet pass over names that begin like this
MARK_FILE = "_dask_em.json"


def location_of(place: Place) -> tuple[Any, str]:
    """The file system of fsspec that a place lies in, and its path there."""
    if isinstance(place, LocalPlace):
        return fsspec.filesystem("file"), str(place.path)
    assert isinstance(place, RemotePlace)
    files, path = fsspec.url_to_fs(place.url, **place.options)
    return files, str(path)


def mark_in(place: Place) -> str | None:
    """What the mark at a place says; None where there is none."""
    files, path = location_of(place)
    try:
        told = json.loads(files.cat_file(f"{path}/{MARK_FILE}"))
    except (OSError, ValueError):
        return None
    found = told.get("dask_em") if isinstance(told, dict) else None
    return found if isinstance(found, str) else None


def write_mark(files: Any, path: str, text: str) -> None:
    """Mark a folder."""
    files.pipe_file(f"{path}/{MARK_FILE}", json.dumps({"dask_em": text}).encode())
