"""Paths and URLs of stores."""

from __future__ import annotations

import os
from pathlib import Path

from dask_em.errors import SourceError

__all__ = ["PARQUET_ENDINGS", "existing_path", "is_glob", "is_url"]

#: how names of Parquet files end
PARQUET_ENDINGS = (".parquet", ".parq", ".pq")


def is_url(text: str) -> bool:
    """Whether the text is a URL such as ``s3://bucket/x.zarr`` rather than a path."""
    return "://" in text or "::" in text


def is_glob(path: str) -> bool:
    """Whether a path stands for several."""
    # in the addresses of the web a question mark begins a signature
    return any(sign in path for sign in ("*[" if path.startswith("http") else "*?["))


def existing_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path, so that a worker with another working directory finds it too.

    Raises
    ------
    SourceError
        If nothing is there; the nearest folder that exists is named.
    """
    found = Path(path).expanduser().absolute()
    if found.exists():
        return found
    parent = next(parent for parent in found.parents if parent.exists())
    raise SourceError(
        f"{found} does not exist; the nearest folder that does is {parent}. Check the path, and "
        "that this machine mounts the store"
    )
