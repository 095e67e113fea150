"""The posterior of rows with gaps, from what is observed of them, some rows at a time.

With o the observed features of a row, ``M = W_o'W_o + noise I`` takes the place of the M of Bishop
(2006), section 12.2; rows with the same gaps share it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dask_em.core.records import Array
from dask_em.models.matrices import LOG_2PI, packed
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_patterns import inverses, pattern_order

__all__ = ["SLICE", "Latents", "close_gaps", "latents", "pairs"]

#: numbers that a slice of rows may fill one of its arrays with, unless that is below 256 rows
SLICE = 2**17


@dataclass(frozen=True)
class Latents:
    """Rows that were read together, in the frame, and the posterior of their latent variables.

    There are p patterns of gaps among the b rows, and rows of one pattern follow each other.
    """

    rows: slice | Array  # where they are among all rows: a slice, or (b,) indices
    centred: Array  # (b, d) rows less the mean; 0 in gaps
    patterns: Array  # (p, d) 1.0 where a feature is observed
    starts: Array  # (p,) the first row of each pattern
    means: Array  # (q, b)
    covariances: Array  # (q, q, p)
    log_density: Array  # (b,) of what is observed, nats in the units of the data

    def by_row(self, values: Array) -> Array:
        """Values (..., p) of patterns, repeated for their rows (..., b)."""
        return repeated(values, self.starts, len(self.centred))

    def by_pattern(self, values: Array) -> Array:
        """Sums (..., p) over the rows (..., b) of each pattern."""
        if len(self.starts) == len(self.centred):
            return values
        return np.asarray(np.add.reduceat(values, self.starts, axis=-1))


def latents(values: Array, parameters: PPCAParameters) -> Iterator[Latents]:
    """The posterior of rows (n, d) at parameters, slice by slice; NaN is a gap."""
    n, d = values.shape
    q = parameters.q
    gaps = np.isnan(values)
    squares = _squared(parameters.framed.loadings) if gaps.any() else None
    order, first = pattern_order(gaps)
    size = max(256, min(4096, SLICE // max(1, d, q * q)))
    for start in range(0, n, size):
        rows = slice(start, start + size) if order is None else order[start : start + size]
        fresh = first[start : start + size].copy()
        fresh[0] = True
        yield _posterior(values[rows], rows, np.flatnonzero(fresh), parameters, squares)


def repeated(values: Array, starts: Array, n: int) -> Array:
    """Values (..., p) of runs of n things that begin at starts (p,), one for each thing."""
    if len(starts) == n:
        return values
    return np.repeat(values, np.diff(starts, append=n), axis=-1)


def pairs(q: int) -> Array:
    """(q, q) where the product of two of q things is in their packed upper triangle."""
    where = np.zeros((q, q), dtype=np.intp)
    i, j = np.triu_indices(q)
    where[i, j] = where[j, i] = np.arange(len(i))
    return where


def _posterior(
    values: Array,
    rows: slice | Array,
    starts: Array,
    parameters: PPCAParameters,
    squares: Array | None,
) -> Latents:
    inside, frame = parameters.framed, parameters.place
    W, noise = inside.loadings, inside.noise_variance
    observed = (~np.isnan(values)).astype(np.float64)
    centred = np.subtract(values, frame.shift, dtype=np.float64)
    centred *= 1 / parameters.unit
    centred -= inside.mean
    close_gaps(centred)
    patterns = observed if len(starts) == len(values) else observed[starts]
    covariances, log_inner = _solved(patterns, inside, squares)
    means = _applied(covariances, W.T @ centred.T, starts)
    covariances *= noise
    residual = means.T @ W.T
    residual -= centred
    residual *= observed
    # |x - W z|^2 / noise + |z|^2 at the posterior mean z: no difference of large numbers
    distance = _squares(residual) / noise + np.einsum("ij,ij->j", means, means)
    n_observed = patterns @ np.ones(inside.d)
    volume = (n_observed - inside.q) * math.log(noise) + log_inner
    volume += n_observed * (LOG_2PI + 2 * math.log(parameters.unit))
    log_density = -0.5 * (distance + repeated(volume, starts, len(values)))
    return Latents(rows, centred, patterns, starts, means, covariances, log_density)


def _squared(loadings: Array) -> Array:
    """(d, q (q + 1) / 2) products of every two loadings of a feature."""
    return packed(loadings[:, :, None] * loadings[:, None, :])


def _solved(patterns: Array, inside: PPCAParameters, squares: Array | None) -> tuple[Array, Array]:
    """``M^-1`` (q, q, p) and ``log |M|`` (p,) of patterns (p, d); no squares: there is no gap."""
    q = inside.q
    if squares is None:
        inner = np.repeat(inside.inner[:, :, None], len(patterns), axis=2)
    else:
        inner = (squares.T @ patterns.T)[pairs(q)]
        inner[np.arange(q), np.arange(q)] += inside.noise_variance
    return inner, inverses(inner)


def close_gaps(rows: Array) -> None:
    """Put 0 for NaN, and change nothing else; several times faster than by a mask."""
    below = np.fmin(rows, 0.0)
    np.fmax(rows, 0.0, out=rows)
    rows += below


def _applied(matrices: Array, vectors: Array, starts: Array) -> Array:
    """Matrices (q, q, p) of runs of rows, each times the vectors (q, b) of its rows."""
    if len(starts) == 1:
        return np.asarray(matrices[:, :, 0] @ vectors)
    found = np.zeros_like(vectors)
    for k, one in enumerate(vectors):
        found += repeated(matrices[:, k], starts, vectors.shape[1]) * one
    return found


def _squares(rows: Array) -> Array:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))
