"""The covariance structures as objects: full, tied, diagonal, spherical."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

import numpy as np

from dask_em.core.records import Array
from dask_em.models.charts import CovarianceChart, LogVariances, Triangles
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

__all__ = ["STRUCTURES", "Diagonal", "Full", "Spherical", "Tied"]


@dataclass(frozen=True)
class Full(Structure):
    """Each component has its own general covariance (k, d, d)."""

    name = "full"

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d, d)

    def n_free(self, k: int, d: int) -> int:
        return k * d * (d + 1) // 2

    def factor(self, covariances: Array) -> Array:
        return factors_of(covariances)

    def precisions(self, factors: Array) -> Array:
        return np.asarray(factors @ np.swapaxes(factors, 1, 2))

    def factor_of_precisions(self, precisions: Array) -> Array:
        return factors_of_precisions(precisions)

    def covariances(self, factors: Array) -> Array:
        return covariances_of(factors)

    def half_log_det(self, factors: Array, d: int) -> Array:
        return np.asarray(np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1))

    def whiten(self, means: Array, factors: Array) -> Array:
        return np.asarray(np.einsum("kij,ki->kj", factors, means))

    def unwhiten(self, whitened: Array, factors: Array) -> Array:
        return np.asarray(np.einsum("kij,kj->ki", factors, whitened))

    def n_lifted(self, d: int) -> int:
        return d * (d + 1) // 2

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

    def half_trace(self, factors: Array, second: Array) -> float:
        return _half_trace(self.precisions(factors), second)

    def noise(self, counts: Array, variances: Array) -> Array:
        return packed(counts[:, None, None] * np.diag(variances))

    def chart(self, covariances: Array, mass: Array, d: int) -> CovarianceChart:
        return Triangles(covariances, mass)

    def second_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, self.n_lifted(d))

    def scaled(self, covariances: Array, scale: Array) -> Array:
        return np.asarray(covariances * np.outer(scale, scale))

    def rescaled(self, factors: Array, scale: Array) -> Array:
        return np.asarray(factors * scale[:, None])

    def inflated(self, covariances: Array, amounts: Array) -> Array:
        return np.asarray(covariances + np.diag(amounts))

    def dense(self, covariances: Array, component: int, d: int) -> Array:
        return np.asarray(covariances[component])

    def floored(self, covariances: Array, floor: float) -> tuple[Array, dict[int, int]]:
        return floored(covariances, floor)

    def smallest(self, covariances: Array, k: int) -> Array:
        return np.asarray(np.linalg.eigvalsh(covariances)[:, 0])

    def largest(self, covariances: Array, k: int) -> Array:
        return np.asarray(np.diagonal(covariances, axis1=1, axis2=2).max(axis=1))

    def centred(self, centred: Array, factors: Array, component: int) -> Array:
        return mahalanobis(centred, factors[component])

    def dense_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d, d)

    def scatter(self, rows: Array, dense: Array, component: int) -> None:
        add_scatter(rows, dense[component])

    def packed(self, dense: Array) -> Array:
        return packed(dense)


@dataclass(frozen=True)
class Tied(Structure):
    """All components share one general covariance (d, d)."""

    name = "tied"
    shared = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (d, d)

    def n_free(self, k: int, d: int) -> int:
        return d * (d + 1) // 2

    def factor(self, covariances: Array) -> Array:
        return np.asarray(factors_of(covariances[None])[0])

    def precisions(self, factors: Array) -> Array:
        return np.asarray(factors @ factors.T)

    def factor_of_precisions(self, precisions: Array) -> Array:
        return factors_of_precisions(precisions)

    def covariances(self, factors: Array) -> Array:
        return np.asarray(covariances_of(factors[None])[0])

    def half_log_det(self, factors: Array, d: int) -> Array:
        return np.asarray(np.log(np.diagonal(factors)).sum())

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

    def half_trace(self, factors: Array, second: Array) -> float:
        return _half_trace(self.precisions(factors), second)

    def noise(self, counts: Array, variances: Array) -> Array:
        return packed(counts.sum() * np.diag(variances))

    def chart(self, covariances: Array, mass: Array, d: int) -> CovarianceChart:
        return Triangles(covariances, mass)

    def second_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (d * (d + 1) // 2,)

    def scaled(self, covariances: Array, scale: Array) -> Array:
        return np.asarray(covariances * np.outer(scale, scale))

    def rescaled(self, factors: Array, scale: Array) -> Array:
        return np.asarray(factors * scale[:, None])

    def inflated(self, covariances: Array, amounts: Array) -> Array:
        return np.asarray(covariances + np.diag(amounts))

    def dense(self, covariances: Array, component: int, d: int) -> Array:
        return covariances

    def floored(self, covariances: Array, floor: float) -> tuple[Array, dict[int, int]]:
        repaired, blamed = floored(covariances[None], floor)
        return np.asarray(repaired[0]), blamed

    def smallest(self, covariances: Array, k: int) -> Array:
        return np.full(k, np.linalg.eigvalsh(covariances)[0])

    def largest(self, covariances: Array, k: int) -> Array:
        return np.full(k, np.diagonal(covariances).max())

    def centred(self, centred: Array, factors: Array, component: int) -> Array:
        return mahalanobis(centred, factors)

    def dense_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (d, d)

    def scatter(self, rows: Array, dense: Array, component: int) -> None:
        add_scatter(rows, dense)

    def packed(self, dense: Array) -> Array:
        return packed(dense)


@dataclass(frozen=True)
class _Variances(Structure, ABC):
    """Structures whose covariances are variances, and whose factors are their inverse roots."""

    def factor(self, covariances: Array) -> Array:
        return _inverse_root(covariances)

    def precisions(self, factors: Array) -> Array:
        return np.asarray(factors**2)

    def factor_of_precisions(self, precisions: Array) -> Array:
        return np.sqrt(precisions)

    def covariances(self, factors: Array) -> Array:
        return np.asarray(1.0 / factors**2)

    def half_trace(self, factors: Array, second: Array) -> float:
        return float(0.5 * (self.precisions(factors).reshape(len(second), -1) * second).sum())

    def chart(self, covariances: Array, mass: Array, d: int) -> CovarianceChart:
        return LogVariances(covariances, mass, d)


@dataclass(frozen=True)
class Diagonal(_Variances):
    """Features are independent within a component; variances (k, d)."""

    name = "diag"

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d)

    def n_free(self, k: int, d: int) -> int:
        return k * d

    def half_log_det(self, factors: Array, d: int) -> Array:
        return np.asarray(np.log(factors).sum(axis=1))

    def whiten(self, means: Array, factors: Array) -> Array:
        return np.asarray(means * factors)

    def unwhiten(self, whitened: Array, factors: Array) -> Array:
        return np.asarray(whitened * factors)

    def n_lifted(self, d: int) -> int:
        return d

    def lift(self, rows: Array, out: Array) -> None:
        np.multiply(rows, rows, out=out)

    def natural(self, factors: Array, k: int, d: int) -> Array:
        return np.asarray(-0.5 * factors**2)

    def from_moments(self, counts: Array, deviations: Array, second: Array) -> Array:
        return np.asarray(second / counts[:, None] - deviations**2)

    def about(self, counts: Array, shift: Array, first: Array, second: Array) -> Array:
        return np.asarray(second - 2 * shift * first + counts[:, None] * shift**2)

    def noise(self, counts: Array, variances: Array) -> Array:
        return np.outer(counts, variances)

    def second_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d)

    def scaled(self, covariances: Array, scale: Array) -> Array:
        return np.asarray(covariances * scale**2)

    def rescaled(self, factors: Array, scale: Array) -> Array:
        return np.asarray(factors * scale)

    def inflated(self, covariances: Array, amounts: Array) -> Array:
        return np.asarray(covariances + amounts)

    def dense(self, covariances: Array, component: int, d: int) -> Array:
        return np.diag(covariances[component])

    def floored(self, covariances: Array, floor: float) -> tuple[Array, dict[int, int]]:
        low = np.flatnonzero((covariances < floor).any(axis=1))
        blamed = {int(k): int(np.argmin(covariances[k])) for k in low}
        return np.maximum(covariances, floor), blamed

    def smallest(self, covariances: Array, k: int) -> Array:
        return np.asarray(covariances.min(axis=1))

    def largest(self, covariances: Array, k: int) -> Array:
        return np.asarray(covariances.max(axis=1))

    def centred(self, centred: Array, factors: Array, component: int) -> Array:
        centred *= factors[component]
        return np.asarray(np.einsum("ij,ij->i", centred, centred))

    def scatter(self, rows: Array, dense: Array, component: int) -> None:
        dense[component] += np.einsum("ij,ij->j", rows, rows)


@dataclass(frozen=True)
class Spherical(_Variances):
    """One variance for all features of a component; variances (k,)."""

    name = "spherical"
    isotropic = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k,)

    def n_free(self, k: int, d: int) -> int:
        return k

    def half_log_det(self, factors: Array, d: int) -> Array:
        return np.asarray(d * np.log(factors))

    def whiten(self, means: Array, factors: Array) -> Array:
        return np.asarray(means * factors[:, None])

    def unwhiten(self, whitened: Array, factors: Array) -> Array:
        return np.asarray(whitened * factors[:, None])

    def n_lifted(self, d: int) -> int:
        return 1

    def lift(self, rows: Array, out: Array) -> None:
        np.einsum("ij,ij->j", rows, rows, out=out[0])

    def natural(self, factors: Array, k: int, d: int) -> Array:
        return np.asarray(-0.5 * factors[:, None] ** 2)

    def from_moments(self, counts: Array, deviations: Array, second: Array) -> Array:
        d = deviations.shape[1]
        return np.asarray((second[:, 0] / counts - (deviations**2).sum(axis=1)) / d)

    def about(self, counts: Array, shift: Array, first: Array, second: Array) -> Array:
        moved = counts * (shift**2).sum(axis=1) - 2 * (shift * first).sum(axis=1)
        return np.asarray(second + moved[:, None])

    def noise(self, counts: Array, variances: Array) -> Array:
        return np.asarray(counts[:, None] * variances.sum())

    def second_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, 1)

    def scaled(self, covariances: Array, scale: Array) -> Array:
        return np.asarray(covariances * scale[0] ** 2)

    def rescaled(self, factors: Array, scale: Array) -> Array:
        return np.asarray(factors * scale[0])

    def inflated(self, covariances: Array, amounts: Array) -> Array:
        return np.asarray(covariances + amounts[0])

    def dense(self, covariances: Array, component: int, d: int) -> Array:
        return np.asarray(covariances[component] * np.eye(d))

    def floored(self, covariances: Array, floor: float) -> tuple[Array, dict[int, int]]:
        blamed = {int(k): 0 for k in np.flatnonzero(covariances < floor)}
        return np.maximum(covariances, floor), blamed

    def smallest(self, covariances: Array, k: int) -> Array:
        return covariances

    def largest(self, covariances: Array, k: int) -> Array:
        return covariances

    def centred(self, centred: Array, factors: Array, component: int) -> Array:
        return np.asarray(np.einsum("ij,ij->i", centred, centred) * factors[component] ** 2)

    def scatter(self, rows: Array, dense: Array, component: int) -> None:
        dense[component] += np.einsum("ij,ij->", rows, rows)


#: the structures by the names that scikit-learn gives them
STRUCTURES: dict[str, Structure] = {
    structure.name: structure for structure in (Full(), Tied(), Diagonal(), Spherical())
}


def _moved(counts: Array, shift: Array, first: Array) -> Array:
    """(k, d, d) what moving the origins by shift (k, d) adds to second moments."""
    cross = shift[:, :, None] * first[:, None, :]
    squares = counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
    return np.asarray(squares - cross - np.swapaxes(cross, 1, 2))


def _half_trace(precisions: Array, second: Array) -> float:
    return float(0.5 * (precisions * unpacked(second, precisions.shape[-1])).sum())


def _inverse_root(variances: Array) -> Array:
    if not (variances > 0).all():
        raise np.linalg.LinAlgError("a variance is not positive")
    return np.asarray(1.0 / np.sqrt(variances))
