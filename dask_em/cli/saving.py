"""Whether a model can be saved, asked before the work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dask_em.errors import ArchiveError

__all__ = ["check_writable"]


def check_writable(
    out: str, overwrite: bool, storage_options: Mapping[str, Any] | None = None
) -> None:
    """Raise now what saving a model would raise after the work.

    Raises
    ------
    ArchiveError
        If something is there that may not be replaced, or the folder cannot be written.
    """
    from dask_em.archive import check_free
    from dask_em.place import LocalPlace, parse_place

    check_free(out, overwrite, storage_options)
    place = parse_place(out, storage_options)
    if isinstance(place, LocalPlace):
        folder = next(parent for parent in place.path.parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ArchiveError(
                f"{place} cannot be written: {folder} is no folder that you may write; choose "
                "another path"
            )
