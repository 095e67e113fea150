"""Moments of the pairs of features that are observed together: where a fit with gaps starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.models.frame import Frame
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import PPCAParameters

__all__ = ["AvailableMoments", "available_moments"]

#: variance along an axis of a start, beside that of the noise
LEAST = 0.1


@dataclass(frozen=True)
class AvailableMoments:
    """Means, variances and covariances, each over the rows that have what it needs."""

    centred: Array  # (n, d) rows less the mean, times the root of their weight; 0 in gaps
    roots: Array  # (n, d) root of the weight where a feature is observed, 0 in gaps
    mean: Array  # (d,)
    observed: Array  # (d,) mass of the rows that observe a feature

    @property
    def variances(self) -> Array:
        """(d,) variance of each feature."""
        return np.asarray((self.centred**2).sum(axis=0) / self.observed)

    @property
    def variance(self) -> float:
        """Variance of what is observed, over all features."""
        return float((self.centred**2).sum() / self.observed.sum())

    def covariance(self) -> Array:
        """(d, d) covariances of pairs, which need not be positive definite.

        Without gaps they are those of the rows.
        """
        together = self.roots.T @ self.roots
        return np.asarray((self.centred.T @ self.centred) / np.where(together > 0, together, 1.0))

    def leading(self, n_components: int, floor: NoiseFloor, frame: Frame) -> PPCAParameters:
        """The optimum of Tipping and Bishop (1999) as if the covariance were that of rows."""
        values, vectors = np.linalg.eigh(self.covariance())
        # by magnitude: moments of pairs need not be those of any rows, and then some are negative
        left = float(np.abs(values[: len(values) - n_components]).mean())
        noise, _ = floor.apply(left, self.variance)
        # EM never leaves loadings of zero
        lengths = np.sqrt(np.maximum(values[-n_components:] - noise, LEAST * noise))
        return PPCAParameters(self.mean, vectors[:, -n_components:] * lengths, noise, frame)


def available_moments(sample: Block) -> AvailableMoments:
    """The moments of a sample; NaN is a gap."""
    present = ~np.isnan(sample.values)
    weights = np.ones(len(sample)) if sample.weights is None else sample.weights
    shares = present * weights[:, None]
    observed = shares.sum(axis=0)
    safe = np.where(observed > 0, observed, 1.0)
    values = np.where(present, sample.values, 0.0).astype(np.float64)
    mean = (shares * values).sum(axis=0) / safe
    # once more, for what rounding left of large values
    mean += (shares * (values - mean)).sum(axis=0) / safe
    roots = np.sqrt(shares)
    return AvailableMoments(roots * (values - mean), roots, mean, observed)
