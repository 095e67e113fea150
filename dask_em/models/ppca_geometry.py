"""The geometry of principal component analysers: that of the normal densities which they are."""

from __future__ import annotations

from dataclasses import dataclass

from dask_em.core.records import Array
from dask_em.models.gaussian import Moments
from dask_em.models.gaussian_geometry import GaussianChart, GaussianGeometry
from dask_em.models.mixture_geometry import EmissionChart, EmissionGeometry
from dask_em.models.ppca_emission import Analysers, PrincipalComponents

__all__ = ["AnalyserGeometry"]


@dataclass(frozen=True)
class AnalyserGeometry(EmissionGeometry[Analysers, Moments]):
    """Means and low-rank covariances in the frame in which their sums are taken."""

    emission: PrincipalComponents

    @property
    def _normal(self) -> GaussianGeometry:
        return GaussianGeometry(self.emission.family)

    def chart(self, components: Analysers, mass: Array) -> AnalyserChart:
        return AnalyserChart(self._normal.chart(components.normal, mass))

    def complete(self, components: Analysers, counts: Array, sums: Moments) -> float:
        return self._normal.complete(components.normal, counts, sums)

    def regularized(self, counts: Array, sums: Moments) -> Moments:
        return self._normal.regularized(counts, sums)

    def maximize(self, counts: Array, sums: Moments) -> Analysers:
        return Analysers.of(self._normal.maximize(counts, sums))

    def moved(self, counts: Array, sums: Moments, like: Moments) -> Moments:
        return self._normal.moved(counts, sums, like)


class AnalyserChart(EmissionChart[Analysers, Moments]):
    """Coordinates of analysers by those of their densities."""

    def __init__(self, normal: GaussianChart) -> None:
        self._normal = normal

    def vector(self, components: Analysers) -> Array:
        return self._normal.vector(components.normal)

    def components(self, vector: Array) -> Analysers:
        return Analysers.of(self._normal.components(vector))

    def gradient(self, components: Analysers, counts: Array, sums: Moments) -> Array:
        return self._normal.gradient(components.normal, counts, sums)
