"""The structure of principal component analysers: a few loadings, and noise alike everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dask_em.core.records import Array
from dask_em.errors import InputError
from dask_em.models.charts import CovarianceChart
from dask_em.models.general import Full
from dask_em.models.ppca_parameters import n_free

__all__ = ["LowRank", "analysed", "composed"]


@dataclass(frozen=True)
class LowRank(Full):
    """Each component has a covariance ``W W' + noise I`` (k, d, d), with W (d, q) its loadings.

    Sums, kernels and covariances are those of `Full`: q restricts what is concluded from the sums.

    Parameters
    ----------
    n_latent : int
        Latent dimensions q, 1 to d - 1.

    Raises
    ------
    InputError
        If the features do not have so many.
    """

    name = "ppca"
    isotropic = True

    n_latent: int = 1

    def __post_init__(self) -> None:
        if self.n_latent < 1:
            raise InputError(f"n_latent={self.n_latent}; it must be 1 or more")

    def n_free(self, k: int, d: int) -> int:
        self._check(d)
        return k * (n_free(d, self.n_latent) - d)

    def from_moments(self, counts: Array, deviations: Array, second: Array) -> Array:
        self._check(deviations.shape[1])
        general = super().from_moments(counts, deviations, second)
        return composed(*analysed(general, self.n_latent))

    def _check(self, d: int) -> None:
        if self.n_latent >= d:
            raise InputError(
                f"n_latent={self.n_latent} latent dimensions for {d} features; give fewer of them "
                "than features: one dimension at least is left to the noise"
            )

    def chart(self, covariances: Array, mass: Array, d: int) -> CovarianceChart:
        from dask_em.models.low_rank_chart import LowRankChart

        return LowRankChart(covariances, mass, self.n_latent)


def analysed(covariances: Array, q: int) -> tuple[Array, Array]:
    """Loadings (k, d, q) and noise variances (k,) of greatest likelihood for covariances.

    The noise is the mean of the eigenvalues that are left out, and the loadings are the leading
    eigenvectors, the longest first, scaled to the root of their eigenvalue less the noise; Tipping
    and Bishop (1999b), section 3. The entry of a column that is largest by magnitude is positive.
    """
    values, vectors = np.linalg.eigh(covariances)
    values, vectors = values[:, ::-1], vectors[:, :, ::-1]
    noises = values[:, q:].mean(axis=1)
    lengths = np.sqrt(np.maximum(values[:, :q] - noises[:, None], 0.0))
    axes = vectors[:, :, :q]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.asarray(axes * np.where(largest < 0, -1.0, 1.0) * lengths[:, None]), noises


def composed(loadings: Array, noises: Array) -> Array:
    """Covariances (k, d, d) of loadings (k, d, q) and noise variances (k,)."""
    noise = noises[:, None, None] * np.eye(loadings.shape[1])
    return np.asarray(loadings @ np.swapaxes(loadings, 1, 2) + noise)
