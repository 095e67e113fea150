"""The geometry of mixtures: weights, and whatever the emission has, see `core.geometry`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from dask_em.core.geometry import Chart, Geometry
from dask_em.core.records import Additive, Array, Record
from dask_em.errors import DegenerateError
from dask_em.models.mixture import MixtureParameters, MixtureStatistics

__all__ = ["EmissionChart", "EmissionGeometry", "MixtureGeometry"]

C = TypeVar("C", bound=Record)
A = TypeVar("A", bound=Additive)

#: a weight below this is a component that dies: a boundary, not a point of the chart
SMALLEST_WEIGHT = 1e-10
#: logarithms of weights do not move further in one step
LONGEST = 30.0


class EmissionChart(ABC, Generic[C, A]):
    """Coordinates of k components around a reference."""

    @abstractmethod
    def vector(self, components: C) -> Array:
        """(m,) coordinates of components."""

    @abstractmethod
    def components(self, vector: Array) -> C:
        """The components at coordinates (m,)."""

    @abstractmethod
    def gradient(self, components: C, counts: Array, sums: A) -> Array:
        """(m,) derivative of `EmissionGeometry.complete`."""


@dataclass(frozen=True)
class EmissionGeometry(Record, ABC, Generic[C, A]):
    """What an emission adds to the geometry of a mixture, see `core.geometry.Geometry`."""

    @abstractmethod
    def chart(self, components: C, mass: Array) -> EmissionChart[C, A]:
        """Coordinates around components that have shares mass (k,) of the rows."""

    @abstractmethod
    def complete(self, components: C, counts: Array, sums: A) -> float:
        """Expected log-likelihood of rows whose components are known, nats."""

    @abstractmethod
    def regularized(self, counts: Array, sums: A) -> A:
        """Sums whose `maximize` here is the emission's own estimate of the given ones."""

    @abstractmethod
    def maximize(self, counts: Array, sums: A) -> C:
        """The components that maximize `complete`. Raises DegenerateError."""

    @abstractmethod
    def moved(self, counts: Array, sums: A, like: A) -> A:
        """The same sums, taken about the origins of others."""


@dataclass(frozen=True)
class MixtureGeometry(Geometry[MixtureParameters, MixtureStatistics]):
    """Logarithms of weights beside the emission's coordinates."""

    emission: EmissionGeometry[Any, Any]

    def chart(self, reference: MixtureParameters) -> MixtureChart:
        try:
            return MixtureChart(self, reference)
        except np.linalg.LinAlgError as error:
            raise DegenerateError(f"a covariance has collapsed ({error})") from error

    def complete(self, parameters: MixtureParameters, statistics: MixtureStatistics) -> float:
        counts, sums = statistics.counts, statistics.sums
        mixing = float(counts @ np.log(parameters.weights))
        return mixing + self.emission.complete(parameters.components, counts, sums)

    def regularized(self, statistics: MixtureStatistics) -> MixtureStatistics:
        sums = self.emission.regularized(statistics.counts, statistics.sums)
        return replace(statistics, sums=sums)

    def maximize(self, statistics: MixtureStatistics) -> MixtureParameters:
        weights = statistics.counts / statistics.counts.sum()
        if not weights.min() > SMALLEST_WEIGHT:
            raise DegenerateError(f"component {int(weights.argmin())} has lost its rows")
        components = self.emission.maximize(statistics.counts, statistics.sums)
        return MixtureParameters(weights, components)

    def moved(self, statistics: MixtureStatistics, like: MixtureStatistics) -> MixtureStatistics:
        sums = self.emission.moved(statistics.counts, statistics.sums, like.sums)
        return replace(statistics, sums=sums)


class MixtureChart(Chart[MixtureParameters, MixtureStatistics]):
    """Log weights times their roots, then the emission's coordinates."""

    def __init__(self, geometry: MixtureGeometry, reference: MixtureParameters) -> None:
        weights = np.maximum(reference.weights, SMALLEST_WEIGHT)
        self._weights, self._root = weights, np.sqrt(weights)
        self._emission = geometry.emission.chart(reference.components, weights)

    def vector(self, parameters: MixtureParameters) -> Array:
        if not parameters.weights.min() > 0:
            raise DegenerateError(f"component {int(parameters.weights.argmin())} has no weight")
        logs = np.log(parameters.weights / self._weights)
        logs -= self._weights @ logs  # a common factor of all weights means nothing
        try:
            rest = self._emission.vector(parameters.components)
        except np.linalg.LinAlgError as error:
            raise DegenerateError(f"a covariance has collapsed ({error})") from error
        return np.concatenate([self._root * logs, rest])

    def parameters(self, vector: Array) -> MixtureParameters:
        if not np.isfinite(vector).all():
            raise DegenerateError("a step is not finite")
        k = len(self._weights)
        logs = np.clip(vector[:k] / self._root, -LONGEST, LONGEST)
        weights = self._weights * np.exp(logs - logs.max())
        weights /= weights.sum()
        if not weights.min() > SMALLEST_WEIGHT:
            raise DegenerateError(f"component {int(weights.argmin())} has lost its rows")
        return MixtureParameters(weights, self._emission.components(vector[k:]))

    def gradient(self, parameters: MixtureParameters, statistics: MixtureStatistics) -> Array:
        counts = statistics.counts
        mixing = (counts - counts.sum() * parameters.weights) / self._root
        try:
            rest = self._emission.gradient(parameters.components, counts, statistics.sums)
        except np.linalg.LinAlgError as error:
            raise DegenerateError(f"a covariance has collapsed ({error})") from error
        return np.concatenate([mixing, rest])
