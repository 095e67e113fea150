"""Data frames in memory: columns by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_em.sources.names import chosen

__all__ = ["has_named_columns", "take_columns"]


def has_named_columns(data: Any) -> bool:
    """Whether data are a frame in memory, pandas' or another's, whose columns have names."""
    columns = getattr(data, "columns", None)
    lazy = hasattr(data, "dask") or not hasattr(data, "__array__")
    return columns is not None and not lazy and all(isinstance(name, str) for name in columns)


def take_columns(frame: Any, features: Sequence[str]) -> Any:
    """Some columns of a frame, in the order in which they are named, or patterns fit them.

    Raises
    ------
    SchemaError
        If there is no such column.
    """
    numbers = [name for name, kind in dict(frame.dtypes).items() if _is_number(kind)]
    return frame[chosen(features, list(frame.columns), numbers, f"the {type(frame).__name__}")]


def _is_number(kind: Any) -> bool:
    told = getattr(kind, "_is_numeric", getattr(kind, "kind", "O") in "biuf")
    return bool(told)
