"""Moments of the pairs of features that are observed together: where a fit with gaps starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.models.frame import Frame
from dask_em.models.ppca_gaps import SLICE, close_gaps
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import PPCAParameters

__all__ = ["AvailableMoments", "available_moments"]

#: variance along an axis of a start, beside that of the noise
LEAST = 0.1


@dataclass(frozen=True)
class AvailableMoments:
    """Means, variances and covariances, each over the rows that have what it needs."""

    mean: Array  # (d,)
    observed: Array  # (d,) mass of the rows that observe a feature
    squares: Array  # (d,) sum of squares about the mean
    pairs: Pairs | None = None

    @property
    def variances(self) -> Array:
        """(d,) variance of each feature."""
        return self.squares / self.observed

    @property
    def variance(self) -> float:
        """Variance of what is observed, over all features."""
        return float(self.squares.sum() / self.observed.sum())

    def leading(self, n_components: int, floor: NoiseFloor, frame: Frame) -> PPCAParameters:
        """The optimum of Tipping and Bishop (1999) as if the covariance were that of rows."""
        assert self.pairs is not None
        values, vectors = np.linalg.eigh(self.pairs.covariance)
        # by magnitude: moments of pairs need not be those of any rows, and then some are negative
        left = float(np.abs(values[: len(values) - n_components]).mean())
        noise, _ = floor.apply(left, self.variance)
        # EM never leaves loadings of zero
        lengths = np.sqrt(np.maximum(values[-n_components:] - noise, LEAST * noise))
        return PPCAParameters(self.mean, vectors[:, -n_components:] * lengths, noise, frame)


@dataclass(frozen=True)
class Pairs:
    """Of every two features."""

    products: Array  # (d, d) sum of their products about the mean, over rows that observe both
    together: Array  # (d, d) mass of these rows

    @property
    def covariance(self) -> Array:
        """(d, d), which need not be positive definite. Without gaps it is that of the rows."""
        return self.products / np.where(self.together > 0, self.together, 1.0)


def available_moments(sample: Block, pairs: bool = True) -> AvailableMoments:
    """The moments of a sample, of pairs too where these are wanted; NaN is a gap."""
    d = sample.n_features
    observed, sums, left, squares = (np.zeros(d) for _ in range(4))
    for rows, roots in _parts(sample, np.zeros(d)):
        observed += np.einsum("ij,ij->j", roots, roots)
        sums += np.einsum("ij,ij->j", roots, rows)
    mean = sums / np.where(observed > 0, observed, 1.0)
    found = Pairs(np.zeros((d, d)), np.zeros((d, d))) if pairs else None
    for rows, roots in _parts(sample, mean):
        left += np.einsum("ij,ij->j", roots, rows)
        squares += np.einsum("ij,ij->j", rows, rows)
        if found is not None:
            found.products[:] += rows.T @ rows
            found.together[:] += roots.T @ roots
    # once more, for what rounding left of large values
    mean += left / np.where(observed > 0, observed, 1.0)
    return AvailableMoments(mean, observed, squares, found)


def _parts(sample: Block, mean: Array) -> Iterator[tuple[Array, Array]]:
    """Some rows (b, d) less a mean at a time, and the roots (b, d) of their weights.

    Rows are multiplied by the roots; both are 0 in gaps.
    """
    size = max(256, SLICE // sample.n_features)
    for start in range(0, len(sample), size):
        part = sample.take(slice(start, start + size))
        roots = (~np.isnan(part.values)).astype(np.float64)
        rows = np.subtract(part.values, mean, dtype=np.float64)
        close_gaps(rows)
        if part.weights is not None:
            root = np.sqrt(part.weights)[:, None]
            rows *= root
            roots *= root
        yield rows, roots
