"""A source in memory whose axes, features and places have names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dask_em.engine.fingerprint import Fingerprint
from dask_em.engine.source import Coordinate, Partition, Source
from dask_em.sources.arrays import NumpySource


class NamedSource(Source):
    """Rows of a NumPy array (..., d), with names."""

    local = True

    def __init__(
        self,
        values: Any,
        dims: Sequence[str],
        names: Sequence[str],
        coordinates: Mapping[str, Any] | None = None,
        units: Sequence[str | None] | None = None,
        weights: Any = None,
    ) -> None:
        self._source = NumpySource(values, weights, names)
        self._coordinates = dict(coordinates or {})
        self.schema = replace(
            self._source.schema,
            sample_dims=tuple(dims),
            feature_units=None if units is None else tuple(units),
        )

    def partition(self, chunks: range) -> Partition:
        return self._source.partition(chunks)

    def fingerprint(self) -> Fingerprint:
        return self._source.fingerprint()

    def coordinates(self) -> Mapping[str, Coordinate]:
        return {
            name: one if isinstance(one, Coordinate) else Coordinate((name,), np.asarray(one), {})
            for name, one in self._coordinates.items()
        }


def days_since(times: Any, unit: str = "days") -> Coordinate:
    """Times as a store has them."""
    origin = np.datetime64("2000-02-29T06:00")
    size = {"days": 86400, "hours": 3600, "seconds": 1}[unit]
    values = (np.asarray(times) - origin) / np.timedelta64(size, "s")
    return Coordinate(("time",), values, {"units": f"{unit} since 2000-02-29 06:00:00"})
