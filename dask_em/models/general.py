"""Structures of general covariances: one for each component, or one for all."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

import numpy as np

from dask_em.core.records import Array
from dask_em.models.charts import CovarianceChart, Triangles
from dask_em.models.matrices import (
    add_scatter,
    covariances_of,
    factors_of,
    factors_of_precisions,
    floored,
    mahalanobis,
    packed,
    unpacked,
)
from dask_em.models.structure import Structure

__all__ = ["Full", "Tied"]


@dataclass(frozen=True)
class _Matrices(Structure, ABC):
    """Structures of whole matrices: (k, d, d), or (d, d) where one is shared."""

    def precisions(self, factors: Array) -> Array:
        return np.asarray(factors @ np.swapaxes(factors, -1, -2))

    def factor_of_precisions(self, precisions: Array) -> Array:
        return factors_of_precisions(precisions)

    def half_log_det(self, factors: Array, d: int) -> Array:
        return np.asarray(np.log(_diagonal(factors)).sum(axis=-1))

    def half_trace(self, factors: Array, second: Array) -> float:
        precisions = self.precisions(factors)
        return float(0.5 * (precisions * unpacked(second, precisions.shape[-1])).sum())

    def chart(self, covariances: Array, mass: Array, d: int) -> CovarianceChart:
        return Triangles(covariances, mass)

    def scaled(self, covariances: Array, scale: Array) -> Array:
        return np.asarray(covariances * np.outer(scale, scale))

    def rescaled(self, factors: Array, scale: Array) -> Array:
        return np.asarray(factors * scale[:, None])

    def inflated(self, covariances: Array, amounts: Array) -> Array:
        return np.asarray(covariances + np.diag(amounts))

    def smallest(self, covariances: Array, k: int) -> Array:
        return np.full(k, np.linalg.eigvalsh(covariances)[..., 0])

    def largest(self, covariances: Array, k: int) -> Array:
        return np.full(k, _diagonal(covariances).max(axis=-1))

    def dense_shape(self, k: int, d: int) -> tuple[int, ...]:
        return self.shape(k, d)

    def packed(self, dense: Array) -> Array:
        return packed(dense)


@dataclass(frozen=True)
class Full(_Matrices):
    """Each component has its own general covariance (k, d, d)."""

    name = "full"

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d, d)

    def n_free(self, k: int, d: int) -> int:
        return k * _n_entries(d)

    def factor(self, covariances: Array) -> Array:
        return factors_of(covariances)

    def covariances(self, factors: Array) -> Array:
        return covariances_of(factors)

    def whiten(self, means: Array, factors: Array) -> Array:
        return np.asarray(np.einsum("kij,ki->kj", factors, means))

    def unwhiten(self, whitened: Array, factors: Array) -> Array:
        return np.asarray(np.einsum("kij,kj->ki", factors, whitened))

    def n_lifted(self, d: int) -> int:
        return _n_entries(d)

    def lift(self, rows: Array, out: Array) -> None:
        d, at = len(rows), 0
        for i in range(d):
            np.multiply(rows[i:], rows[i], out=out[at : at + d - i])
            at += d - i

    def natural(self, factors: Array, k: int, d: int) -> Array:
        precisions = self.precisions(factors)
        i, j = np.triu_indices(d)
        return np.asarray(precisions[:, i, j] * np.where(i == j, -0.5, -1.0))

    def from_moments(self, counts: Array, deviations: Array, second: Array) -> Array:
        second = unpacked(second / counts[:, None], deviations.shape[1])
        return np.asarray(second - deviations[:, :, None] * deviations[:, None, :])

    def about(self, counts: Array, shift: Array, first: Array, second: Array) -> Array:
        return second + packed(_moved(counts, shift, first))

    def noise(self, counts: Array, variances: Array) -> Array:
        return packed(counts[:, None, None] * np.diag(variances))

    def second_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, _n_entries(d))

    def dense(self, covariances: Array, component: int, d: int) -> Array:
        return np.asarray(covariances[component])

    def floored(self, covariances: Array, floor: float) -> tuple[Array, dict[int, int]]:
        return floored(covariances, floor)

    def centred(self, centred: Array, factors: Array, component: int) -> Array:
        return mahalanobis(centred, factors[component])

    def scatter(self, rows: Array, dense: Array, component: int) -> None:
        add_scatter(rows, dense[component])


@dataclass(frozen=True)
class Tied(_Matrices):
    """All components share one general covariance (d, d)."""

    name = "tied"
    shared = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (d, d)

    def n_free(self, k: int, d: int) -> int:
        return _n_entries(d)

    def factor(self, covariances: Array) -> Array:
        return np.asarray(factors_of(covariances[None])[0])

    def covariances(self, factors: Array) -> Array:
        return np.asarray(covariances_of(factors[None])[0])

    def whiten(self, means: Array, factors: Array) -> Array:
        return np.asarray(means @ factors)

    def unwhiten(self, whitened: Array, factors: Array) -> Array:
        return np.asarray(whitened @ factors.T)

    def n_lifted(self, d: int) -> int:
        return 0  # the quadratic term is common to all components and cancels

    def lift(self, rows: Array, out: Array) -> None:
        return

    def natural(self, factors: Array, k: int, d: int) -> Array:
        return np.empty((k, 0))

    def from_moments(self, counts: Array, deviations: Array, second: Array) -> Array:
        between = (counts[:, None] * deviations).T @ deviations
        return np.asarray((unpacked(second, deviations.shape[1]) - between) / counts.sum())

    def about(self, counts: Array, shift: Array, first: Array, second: Array) -> Array:
        return second + packed(_moved(counts, shift, first).sum(axis=0))

    def noise(self, counts: Array, variances: Array) -> Array:
        return packed(counts.sum() * np.diag(variances))

    def second_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (_n_entries(d),)

    def dense(self, covariances: Array, component: int, d: int) -> Array:
        return covariances

    def floored(self, covariances: Array, floor: float) -> tuple[Array, dict[int, int]]:
        repaired, blamed = floored(covariances[None], floor)
        return np.asarray(repaired[0]), blamed

    def centred(self, centred: Array, factors: Array, component: int) -> Array:
        return mahalanobis(centred, factors)

    def scatter(self, rows: Array, dense: Array, component: int) -> None:
        add_scatter(rows, dense)


def _n_entries(d: int) -> int:
    """How many entries a packed triangle has."""
    return d * (d + 1) // 2


def _diagonal(matrices: Array) -> Array:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def _moved(counts: Array, shift: Array, first: Array) -> Array:
    """(k, d, d) what moving the origins by shift (k, d) adds to second moments."""
    cross = shift[:, :, None] * first[:, None, :]
    squares = counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
    return np.asarray(squares - cross - np.swapaxes(cross, 1, 2))
