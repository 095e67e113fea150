"""Coordinates of low-rank covariances around a reference, see `charts`.

Whitened by the reference's own eigenvectors, its q leading ones first, a covariance has the blocks
``C11``, ``C21`` and ``C22 = t I + C21 (C11 - t E)^-1 C21'``, with t the noise by that of the
reference and E the inverse of the reference's leading eigenvalues, in units of its noise. So
``C11``, ``C21`` and t tell it. Coordinates are the entries of the Cholesky factor of ``C11``, on
its diagonal their logarithms, those of ``C21``, and the logarithm of t.
"""

from __future__ import annotations

import numpy as np

from dask_em.core.records import Array
from dask_em.errors import DegenerateError
from dask_em.models.charts import FLOOR, LONGEST, CovarianceChart
from dask_em.models.matrices import lower_factors, transposed, unpacked

__all__ = ["LowRankChart"]

#: an eigenvalue this near to the noise has no direction
SHORTEST = 1e-9


class LowRankChart(CovarianceChart):
    """Of covariances ``W W' + noise I``, one for each component.

    Parameters
    ----------
    reference : array (k, d, d)
    mass : array (k,)
        Share of the rows in each component.
    n_latent : int
        Latent dimensions q.

    Raises
    ------
    DegenerateError
        If a component of the reference has fewer latent dimensions than that.
    """

    def __init__(self, reference: Array, mass: Array, n_latent: int) -> None:
        q, (k, d, _) = n_latent, reference.shape
        values, vectors = np.linalg.eigh(reference)
        values, vectors = values[:, ::-1].copy(), vectors[:, :, ::-1]
        self._noises = values[:, q:].mean(axis=1)
        self._inverse = self._noises[:, None] / values[:, :q]
        if not self._inverse.max() < 1 - SHORTEST:
            weak = int(self._inverse.max(axis=1).argmax())
            raise DegenerateError(f"component {weak} has fewer than {q} latent dimensions")
        values[:, q:] = self._noises[:, None]
        lengths = np.sqrt(values)[:, None]
        self._root, self._whitener = vectors * lengths, vectors / lengths
        self._shape, self._leading = (k, d - q, q), np.arange(q)
        # in the metric of Fisher's information: of the diagonal, below it, of C21, of the noise
        self._below = np.tril_indices(q, -1)
        units = [np.full(q, np.sqrt(2)), np.ones(len(self._below[0]) + (d - q) * q)]
        units.append(np.array([np.sqrt((d - q) / 2)]))
        self._units = np.sqrt(mass)[:, None] * np.concatenate(units)

    def vector(self, covariances: Array) -> Array:
        q = len(self._leading)
        white = self._whitened(covariances)
        inner = lower_factors(white[:, :q, :q])
        logs = np.log(inner[:, self._leading, self._leading])
        noise = np.log(self._noise_ratios(covariances))
        return np.asarray(self._joined(logs, inner, white[:, q:, :q], noise) * self._units).ravel()

    def covariances(self, vector: Array) -> Array:
        k, _, q = self._shape
        numbers = vector.reshape(k, -1) / self._units
        inner = np.zeros((k, q, q))
        logs = np.clip(numbers[:, :q], -LONGEST, LONGEST)
        inner[:, self._leading, self._leading] = np.exp(logs)
        n_below = len(self._below[0])
        inner[:, self._below[0], self._below[1]] = numbers[:, q : q + n_below]
        cross = numbers[:, q + n_below : -1].reshape(self._shape)
        noises = np.exp(np.clip(numbers[:, -1], -LONGEST, LONGEST))
        if not (noises * self._noises).min() > FLOOR:
            raise DegenerateError(f"a noise variance is below {FLOOR:g} of the data's")
        white = self._filled(inner @ transposed(inner), cross, noises)
        return np.asarray(self._root @ white @ transposed(self._root))

    def gradient(self, covariances: Array, counts: Array, second: Array) -> Array:
        q = len(self._leading)
        white, noises = self._whitened(covariances), self._noise_ratios(covariances)
        squares = self._whitened(unpacked(second, white.shape[-1]))
        half = np.linalg.solve(white, squares - counts[:, None, None] * white)
        slope = np.linalg.solve(white, transposed(half))
        # with K = C21 (C11 - t E)^-1 a change of the others makes
        # d C22 = (I + K E K') d t + d C21 K' + K d C21' - K d C11 K'
        lead = self._lead(white[:, :q, :q], white[:, q:, :q], noises)
        pulled = slope[:, q:, q:] @ lead
        within = transposed(lead) @ pulled
        inner = lower_factors(white[:, :q, :q])
        triangle = (slope[:, :q, :q] - within) @ inner
        at = (slice(None), self._leading, self._leading)
        trace = np.einsum("kii->k", slope[:, q:, q:]) + (self._inverse * within[at]).sum(axis=1)
        found = self._joined(
            triangle[at] * inner[at], triangle, slope[:, q:, :q] + pulled, 0.5 * noises * trace
        )
        return np.asarray(found / self._units).ravel()

    def shorten(self, steps: Array) -> Array:
        return np.asarray(np.einsum("kij,ki->kj", self._whitener, steps))

    def lengthen(self, coordinates: Array) -> Array:
        return np.asarray(np.einsum("kij,kj->ki", self._root, coordinates))

    def pull(self, covariances: Array, sums: Array) -> Array:
        solved = np.linalg.solve(covariances, sums[:, :, None])[:, :, 0]
        return np.asarray(np.einsum("kij,ki->kj", self._root, solved))

    def _whitened(self, matrices: Array) -> Array:
        return np.asarray(transposed(self._whitener) @ matrices @ self._whitener)

    def _noise_ratios(self, covariances: Array) -> Array:
        q = len(self._leading)
        return np.asarray(np.linalg.eigvalsh(covariances)[:, :-q].mean(axis=1) / self._noises)

    def _lead(self, first: Array, cross: Array, noises: Array) -> Array:
        """(k, d - q, q) ``C21 (C11 - t E)^-1``."""
        beyond = first.copy()
        beyond[:, self._leading, self._leading] -= noises[:, None] * self._inverse
        try:
            lower_factors(beyond)
        except np.linalg.LinAlgError as error:
            raise DegenerateError("a latent dimension is lost in the noise") from error
        return transposed(np.linalg.solve(beyond, transposed(cross)))

    def _filled(self, first: Array, cross: Array, noises: Array) -> Array:
        """Whitened covariances (k, d, d) of what tells them."""
        rest = noises[:, None, None] * np.eye(self._shape[1])
        rest = rest + self._lead(first, cross, noises) @ transposed(cross)
        return np.asarray(np.block([[first, transposed(cross)], [cross, rest]]))

    def _joined(self, logs: Array, triangles: Array, cross: Array, noise: Array) -> Array:
        """(k, m) the numbers of each component."""
        below = triangles[:, self._below[0], self._below[1]]
        return np.hstack([logs, below, cross.reshape(len(cross), -1), noise[:, None]])
