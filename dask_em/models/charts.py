"""Coordinates of covariances around a reference, in the metric of their Fisher information.

With L the Cholesky factor of the reference, a covariance is ``L T T' L'`` with T lower triangular;
its coordinates are the entries of T, on the diagonal their logarithms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from dask_em.core.records import Array
from dask_em.errors import DegenerateError
from dask_em.models.matrices import lower_factors, transposed, unpacked

__all__ = ["CovarianceChart", "LogVariances", "Triangles"]

#: smallest variance, of rows whose own is near one, that is still a component's
FLOOR = 1e-13
#: logarithms beyond this are no step of the same problem
LONGEST = 16.0


class CovarianceChart(ABC):
    """Coordinates of covariances, and of the means beside them."""

    @abstractmethod
    def vector(self, covariances: Array) -> Array:
        """(m,) coordinates of covariances."""

    @abstractmethod
    def covariances(self, vector: Array) -> Array:
        """The covariances at coordinates (m,).

        Raises
        ------
        DegenerateError
            If one has collapsed.
        """

    @abstractmethod
    def gradient(self, covariances: Array, counts: Array, second: Array) -> Array:
        """(m,) derivative of the log-likelihood of counts (k,) and second moments about means."""

    @abstractmethod
    def shorten(self, steps: Array) -> Array:
        """``L^-1 step`` of the means, (k, d)."""

    @abstractmethod
    def lengthen(self, coordinates: Array) -> Array:
        """``L v``, (k, d)."""

    @abstractmethod
    def pull(self, covariances: Array, sums: Array) -> Array:
        """``L' C^-1 s`` of sums (k, d), with C the covariances."""


class Triangles(CovarianceChart):
    """Of general covariances: one for each component, or one for all.

    Parameters
    ----------
    reference : array (k, d, d) or (d, d)
    mass : array (k,)
        Share of the rows in each component.
    """

    def __init__(self, reference: Array, mass: Array) -> None:
        self._shape = reference.shape
        d = reference.shape[-1]
        self._lower = lower_factors(reference.reshape(-1, d, d))
        self._shared = reference.ndim == 2
        self._root = np.sqrt(self._per_matrix(mass))[:, None]
        self._diagonal, self._below = np.arange(d), np.tril_indices(d, -1)

    def vector(self, covariances: Array) -> Array:
        inner = np.linalg.solve(self._lower, self._factors(covariances))
        diagonal = np.log(inner[:, self._diagonal, self._diagonal])
        return self._joined(np.sqrt(2) * self._root * diagonal, self._root * self._off(inner))

    def covariances(self, vector: Array) -> Array:
        inner = np.zeros_like(self._lower)
        size = len(inner) * len(self._diagonal)
        diagonal = vector[:size].reshape(len(inner), -1) / (np.sqrt(2) * self._root)
        inner[:, self._diagonal, self._diagonal] = np.exp(_limited(diagonal))
        below = vector[size:].reshape(len(inner), -1) / self._root
        inner[:, self._below[0], self._below[1]] = below
        lower = self._lower @ inner
        _check(np.diagonal(lower, axis1=1, axis2=2) ** 2)
        return np.asarray(lower @ transposed(lower)).reshape(self._shape)

    def gradient(self, covariances: Array, counts: Array, second: Array) -> Array:
        d = len(self._diagonal)
        lower = self._factors(covariances)
        squares = unpacked(second.reshape(len(lower), -1), d)
        half = np.linalg.solve(lower, squares)
        white = np.linalg.solve(lower, transposed(half))
        white -= self._per_matrix(counts)[:, None, None] * np.eye(d)
        # d log-likelihood / dT = L' C^-1 (S - n C) C^-1 (L T) = T^-T (white - n)
        inner = np.linalg.solve(self._lower, lower)
        slope = np.linalg.solve(transposed(inner), white)
        at = (slice(None), self._diagonal, self._diagonal)
        diagonal = slope[at] * inner[at]
        return self._joined(diagonal / (np.sqrt(2) * self._root), self._off(slope) / self._root)

    def shorten(self, steps: Array) -> Array:
        return np.asarray(np.linalg.solve(self._lower, steps[:, :, None])[:, :, 0])

    def lengthen(self, coordinates: Array) -> Array:
        return np.asarray(np.matmul(self._lower, coordinates[:, :, None])[:, :, 0])

    def pull(self, covariances: Array, sums: Array) -> Array:
        stack = covariances.reshape(-1, *covariances.shape[-2:])
        solved = np.linalg.solve(stack, sums[:, :, None])
        return np.asarray(np.matmul(transposed(self._lower), solved)[:, :, 0])

    def _factors(self, covariances: Array) -> Array:
        return lower_factors(covariances.reshape(self._lower.shape))

    def _per_matrix(self, by_component: Array) -> Array:
        return by_component.sum(keepdims=True) if self._shared else by_component

    def _off(self, inner: Array) -> Array:
        return np.asarray(inner[:, self._below[0], self._below[1]])

    @staticmethod
    def _joined(diagonal: Array, below: Array) -> Array:
        return np.concatenate([diagonal.ravel(), below.ravel()])


class LogVariances(CovarianceChart):
    """Of variances: one for each feature, or one for all features, of each component.

    Parameters
    ----------
    reference : array (k, d) or (k,)
    mass : array (k,)
        Share of the rows in each component.
    n_features : int
    """

    def __init__(self, reference: Array, mass: Array, n_features: int) -> None:
        self._shape = reference.shape
        self._reference = reference.reshape(len(mass), -1)
        self._features = n_features // self._reference.shape[1]  # that share a variance
        self._root = np.sqrt(0.5 * self._features * mass)[:, None]

    def vector(self, covariances: Array) -> Array:
        ratio = covariances.reshape(self._reference.shape) / self._reference
        return np.asarray(self._root * np.log(ratio)).ravel()

    def covariances(self, vector: Array) -> Array:
        logs = vector.reshape(self._reference.shape) / self._root
        variances = self._reference * np.exp(_limited(logs))
        _check(variances)
        return np.asarray(variances).reshape(self._shape)

    def gradient(self, covariances: Array, counts: Array, second: Array) -> Array:
        variances = covariances.reshape(self._reference.shape)
        slope = 0.5 * (second / variances - self._features * counts[:, None])
        return np.asarray(slope / self._root).ravel()

    def shorten(self, steps: Array) -> Array:
        return np.asarray(steps / np.sqrt(self._reference))

    def lengthen(self, coordinates: Array) -> Array:
        return np.asarray(coordinates * np.sqrt(self._reference))

    def pull(self, covariances: Array, sums: Array) -> Array:
        variances = covariances.reshape(self._reference.shape)
        return np.asarray(np.sqrt(self._reference) * sums / variances)


def _check(variances: Array) -> None:
    if not variances.min() > FLOOR:
        raise DegenerateError(f"a variance of {variances.min():g} is below {FLOOR:g} of the data's")


def _limited(logarithms: Array) -> Array:
    return np.clip(logarithms, -LONGEST, LONGEST)
