"""Structures of variances: independent features, with a variance each or one for all."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

import numpy as np

from dask_em.core.records import Array
from dask_em.models.charts import CovarianceChart, LogVariances
from dask_em.models.structure import Structure

__all__ = ["Diagonal", "Spherical"]


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


def _inverse_root(variances: Array) -> Array:
    if not (variances > 0).all():
        raise np.linalg.LinAlgError("a variance is not positive")
    return np.asarray(1.0 / np.sqrt(variances))
