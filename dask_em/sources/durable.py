"""Files that are on the disk before anybody is told that they are written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dask_em.remote.files import flush_entry

__all__ = ["flush"]


def flush(files: Iterable[Path], folder: Path) -> None:
    """Force files inside a folder to the disk, and the entries by which they are found there."""
    folders = {folder}
    for file in files:
        if file.exists():  # a chunk of nothing but fill values has no file
            flush_entry(file)
            folders.update(parent for parent in file.parents if parent.is_relative_to(folder))
    for entries in folders:
        flush_entry(entries)
