"""By what the passes of a fit are made."""

from __future__ import annotations

from typing import Any

from dask_em.core.geometry import Geometry, SupportsGeometry
from dask_em.core.model import SupportsClosedForm
from dask_em.core.spectral import Spectral, SupportsSpectral
from dask_em.engine.sample import surrogate_size
from dask_em.engine.source import Schema, Source
from dask_em.errors import InputError

__all__ = [
    "ALGORITHMS",
    "algorithm_of",
    "check_algorithm",
    "geometry_of",
    "method_of",
    "spectral_of",
    "surrogate_of",
]

ALGORITHMS = ("auto", "em", "accelerated")


def check_algorithm(algorithm: str) -> None:
    """Refuse an algorithm that nobody knows."""
    if algorithm not in ALGORITHMS:
        raise InputError(f"algorithm={algorithm!r}; it must be one of {ALGORITHMS}")


def method_of(algorithm: str, model: Any, source: Source) -> str:
    """By what a model is fitted.

    ``"em"``, ``"closed"`` where the optimum follows from one pass, ``"accelerated"`` by a sample or
    by eigenvectors, or ``"extrapolated"`` for want of both.

    Raises
    ------
    InputError
        If the algorithm is unknown.
    """
    check_algorithm(algorithm)
    if algorithm == "em":
        return "em"
    if isinstance(model, SupportsClosedForm):
        return "closed"
    if algorithm == "auto" and source.local:
        return "em"
    if geometry_of(model) is None and spectral_of(model) is None:
        return "extrapolated"
    return "accelerated"


def algorithm_of(method: str) -> str:
    """What a method is called where its user is told of it."""
    return "accelerated" if method == "extrapolated" else method


def geometry_of(model: Any) -> Geometry[Any, Any] | None:
    """What a model adds so that a sample can be climbed in place of all rows."""
    return model.geometry() if isinstance(model, SupportsGeometry) else None


def spectral_of(model: Any) -> Spectral[Any, Any] | None:
    """What a model adds whose optimum is made of leading eigenvectors."""
    return model.spectral() if isinstance(model, SupportsSpectral) else None


def surrogate_of(model: Any, schema: Schema) -> int | None:
    """Rows that stand for all of them between passes; None where no sample is climbed."""
    if geometry_of(model) is None:
        return None
    return surrogate_size(schema, model.n_parameters(schema.n_features))
