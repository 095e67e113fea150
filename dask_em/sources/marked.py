"""The file that tells an output of dask_em that is no Zarr group, and says whether it is whole."""

from __future__ import annotations

import json

from dask_em.place import Place

__all__ = ["MARK_FILE", "mark_in", "write_mark"]

#: readers of Parquet pass over names that begin like this
MARK_FILE = "_dask_em.json"


def mark_in(place: Place) -> str | None:
    """What the mark at a place says; None where there is none.

    Raises
    ------
    SourceError
        If the store does not answer.
    """
    try:
        told = json.loads(place.files().read(MARK_FILE))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    found = told.get("dask_em") if isinstance(told, dict) else None
    return found if isinstance(found, str) else None


def write_mark(place: Place, text: str) -> None:
    """Mark a folder."""
    place.files().write(MARK_FILE, json.dumps({"dask_em": text}).encode())
