"""Data frames in memory: columns by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_em.core.names import nearest
from dask_em.errors import SchemaError

__all__ = ["columns_of_frame", "is_frame"]


def is_frame(data: Any) -> bool:
    """Whether data are a frame in memory, pandas' or another's, whose columns have names."""
    columns = getattr(data, "columns", None)
    lazy = hasattr(data, "dask") or not hasattr(data, "__array__")
    return columns is not None and not lazy and all(isinstance(name, str) for name in columns)


def columns_of_frame(frame: Any, features: Sequence[str]) -> Any:
    """Some columns of a frame, in the order in which they are named.

    Raises
    ------
    SchemaError
        If there is no such column.
    """
    known = [str(name) for name in frame.columns]
    missing = [name for name in features if name not in known]
    if missing:
        raise SchemaError(
            f"the {type(frame).__name__} has no column {missing[0]!r}; {nearest(missing[0], known)}"
        )
    return frame[list(features)]
