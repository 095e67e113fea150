"""Where a model is saved and its passes are kept, asked before the work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dask_em.errors import ArchiveError

if TYPE_CHECKING:
    from dask_em.cli.live import Progress
    from dask_em.cli.options import Selected

__all__ = ["check_writable", "kept_at"]


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


def kept_at(
    checkpoint: str | None, selected: Selected, progress: Progress, what: str = "each pass"
) -> Any:
    """The place in which something is kept, and who watches is told of it; None if nothing is."""
    if checkpoint is None:
        return None
    from dask_em.place import parse_place
    from dask_em.remote.secrets import without_secrets

    progress.say(
        f"{what} is kept in {without_secrets(checkpoint)}; the same command goes on from it"
    )
    return parse_place(checkpoint, selected.options_of(checkpoint))
