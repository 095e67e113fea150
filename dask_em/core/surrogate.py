"""A sample in memory, corrected so that it stands for all rows near one place.

With s the statistics of all rows at theta and t those of the sample there, scaled to the same
mass, the surrogate is ``F(phi) = L_sample(phi) + complete(phi, s - t)``. Its slope at theta is that
of all rows, its curvature the sample's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from dask_em.core.geometry import Chart, Geometry
from dask_em.core.records import Array, Parameters, Statistics
from dask_em.errors import DegenerateError

__all__ = ["Point", "Surrogate"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


@dataclass(frozen=True)
class Point(Generic[P, S]):
    """Parameters, and the surrogate's value and statistics there."""

    parameters: P
    value: float  # nats per unit of mass
    statistics: S  # whose `complete` has the surrogate's slope


@dataclass(frozen=True)
class Surrogate(Generic[P, S]):
    """The corrected log-likelihood of a sample.

    Parameters
    ----------
    geometry : Geometry
    expect : callable
        The statistics that parameters induce on the sample.
    correction : Statistics
        What the sample gets wrong; scaled to the mass of all rows.
    mass : float
        Of all rows.
    scale : float
        Their mass over that of the sample.
    """

    geometry: Geometry[P, S]
    expect: Callable[[P], S]
    correction: S
    mass: float
    scale: float

    @classmethod
    def around(
        cls,
        geometry: Geometry[P, S],
        expect: Callable[[P], S],
        parameters: P,
        statistics: S,
    ) -> Surrogate[P, S]:
        """The surrogate that has the slope of all rows at parameters with these statistics."""
        sampled = expect(parameters)
        scale = statistics.mass / sampled.mass
        wanted = geometry.regularized(statistics)
        correction = wanted - geometry.moved(scale * sampled, wanted)
        return cls(geometry, expect, correction, statistics.mass, scale)

    def at(self, parameters: P) -> Point[P, S] | None:
        """The surrogate at parameters; None where it is not defined."""
        try:
            sampled = self.scale * self.expect(parameters)
            value = sampled.log_likelihood + self.geometry.complete(parameters, self.correction)
            statistics = sampled + self.geometry.moved(self.correction, sampled)
        except DegenerateError:
            return None
        value /= self.mass
        return Point(parameters, value, statistics) if np.isfinite(value) else None

    def slope(self, point: Point[P, S], chart: Chart[P, S]) -> Array | None:
        """(m,) derivative of the value in the chart's coordinates; None where there is none."""
        try:
            return chart.gradient(point.parameters, point.statistics) / self.mass
        except DegenerateError:
            return None

    def em_step(self, point: Point[P, S]) -> P | None:
        """The parameters that an M-step makes of a point; None where there are none."""
        try:
            return self.geometry.maximize(point.statistics)
        except DegenerateError:
            return None
