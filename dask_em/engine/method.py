"""By what the passes of a fit are made."""

from __future__ import annotations

from typing import Any

from dask_em.core.geometry import Geometry, SupportsGeometry
from dask_em.engine.source import Source
from dask_em.errors import InputError

__all__ = ["ALGORITHMS", "geometry_of", "method_of"]

ALGORITHMS = ("auto", "em", "accelerated")


def method_of(algorithm: str, model: Any, source: Source) -> str:
    """``"em"``, ``"accelerated"`` by a sample, or ``"extrapolated"`` for want of a geometry.

    Raises
    ------
    InputError
        If the algorithm is unknown.
    """
    if algorithm not in ALGORITHMS:
        raise InputError(f"algorithm={algorithm!r}; it must be one of {ALGORITHMS}")
    if algorithm == "em" or (algorithm == "auto" and source.local):
        return "em"
    return "extrapolated" if geometry_of(model) is None else "accelerated"


def geometry_of(model: Any) -> Geometry[Any, Any] | None:
    """What a model adds so that its fits take few passes."""
    return model.geometry() if isinstance(model, SupportsGeometry) else None
