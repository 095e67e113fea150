"""The geometry of Gaussian components, see `core.geometry`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dask_em.core.records import Array
from dask_em.models.gaussian import Gaussian, Gaussians, Moments
from dask_em.models.mixture_geometry import EmissionChart, EmissionGeometry

__all__ = ["GaussianGeometry"]


@dataclass(frozen=True)
class GaussianGeometry(EmissionGeometry[Gaussians, Moments]):
    """Means and covariances in the frame in which their sums are taken."""

    family: Gaussian

    def chart(self, components: Gaussians, mass: Array) -> GaussianChart:
        return GaussianChart(components, mass)

    def complete(self, components: Gaussians, counts: Array, sums: Moments) -> float:
        means, _ = components.framed
        factors, structure = components.framed_factors, components.structure
        d = means.shape[1]
        second = structure.about(counts, means - sums.origin, sums.first, sums.second)
        constant = (
            structure.half_log_det(factors, d)
            - 0.5 * d * math.log(2 * math.pi)
            + components.place.log_volume
        )
        return float((counts * constant).sum()) - structure.half_trace(factors, second)

    def regularized(self, counts: Array, sums: Moments) -> Moments:
        variances = self.family.reg_covar / sums.frame.scale**2
        return replace(sums, second=sums.second + self.family.structure.noise(counts, variances))

    def maximize(self, counts: Array, sums: Moments) -> Gaussians:
        # without what `regularized` added, and refusing what the model would repair
        strict = replace(self.family, reg_covar=0.0, repair=False)
        components, _ = strict.estimate(counts, sums)
        return components

    def moved(self, counts: Array, sums: Moments, like: Moments) -> Moments:
        shift = like.origin - sums.origin
        if not shift.any():
            return replace(sums, origin=like.origin)
        first = sums.first - counts[:, None] * shift
        second = self.family.structure.about(counts, shift, sums.first, sums.second)
        return replace(sums, first=first, second=second, origin=like.origin)


class GaussianChart(EmissionChart[Gaussians, Moments]):
    """Means by component, then covariances.

    Parameters
    ----------
    components : Gaussians
        The reference.
    mass : array (k,)
        Share of the rows in each component.
    """

    def __init__(self, components: Gaussians, mass: Array) -> None:
        self._reference = components
        self._means, covariances = components.framed
        self._root = np.sqrt(mass)[:, None]
        self._spread = components.structure.chart(covariances, mass, self._means.shape[1])

    def vector(self, components: Gaussians) -> Array:
        means, covariances = components.framed
        places = self._root * self._spread.shorten(means - self._means)
        return np.concatenate([places.ravel(), self._spread.vector(covariances)])

    def components(self, vector: Array) -> Gaussians:
        size, frame = self._means.size, self._reference.place
        places = vector[:size].reshape(self._means.shape) / self._root
        means = self._means + self._spread.lengthen(places)
        covariances = self._spread.covariances(vector[size:])
        structure = self._reference.structure
        scaled = structure.scaled(covariances, frame.scale)
        return Gaussians(frame.outward(means), scaled, structure, frame)

    def gradient(self, components: Gaussians, counts: Array, sums: Moments) -> Array:
        means, covariances = components.framed
        shift = means - sums.origin
        first = sums.first - counts[:, None] * shift
        second = components.structure.about(counts, shift, sums.first, sums.second)
        places = self._spread.pull(covariances, first) / self._root
        return np.concatenate([places.ravel(), self._spread.gradient(covariances, counts, second)])
