"""Probabilistic PCA of rows with gaps: exact EM on what is observed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.random import Generator

from dask_em.core.block import Block, listed
from dask_em.core.records import FIXED, Array, Statistics
from dask_em.errors import DataError, DegenerateError
from dask_em.models.frame import Frame
from dask_em.models.matrices import unpacked
from dask_em.models.ppca_available import available_moments
from dask_em.models.ppca_closed import check_latent
from dask_em.models.ppca_gaps import Latents, latents
from dask_em.models.ppca_model import LatentModel, random_start
from dask_em.models.ppca_parameters import PPCAParameters

__all__ = ["WIDEST", "MissingPPCA", "MissingPPCAStatistics"]

#: features whose pairs are too many for a start: it is random then
WIDEST = 4000


@dataclass(frozen=True)
class MissingPPCAStatistics(Statistics):
    """Sums of each feature over the rows that observe it, y in a frame and u = (z, 1)."""

    second: Array  # (d, (q + 1)(q + 2) / 2) sum of E[u u'], packed; the last is the mass
    cross: Array  # (d, q + 1) sum of y E[u]; the last is the sum of y
    squares: Array  # (d,) sum of y^2
    latent: Array  # ((q + 1)(q + 2) / 2,) sum of E[u u'] over all rows but those that are all gaps
    frame: Frame = field(metadata=FIXED)

    @property
    def observed(self) -> Array:
        """(d,) mass of the rows that observe each feature."""
        return np.asarray(self.second[:, -1])

    @property
    def variance(self) -> float:
        """Variance of what is observed about the means of the features, in the frame."""
        within = self.squares - self.cross[:, -1] ** 2 / self.observed
        return float(within.sum() / self.observed.sum())


@dataclass(frozen=True)
class MissingPPCA(LatentModel[MissingPPCAStatistics]):
    """``x = W z + mean + noise`` of which some features are observed; NaN is a gap.

    The log-likelihood is that of the observed part, as if gaps said nothing of what they hide
    (missing at random). A row with nothing observed counts as mass and changes nothing else.

    Parameters
    ----------
    n_components : int
        Latent dimensions q, 1 to d - 1.
    start : {"closed", "random"}
        Whether a fit starts from the spectrum of the moments of available pairs, or from random
        loadings, as it does for more than 4,000 features.
    floor : NoiseFloor
        What happens when the latent dimensions explain all of the data.
    expanded : bool
        Whether the M-step also estimates mean and covariance of the latent variables, and then
        takes them back to 0 and I by moving the mean and turning the loadings: parameter-expanded
        EM (Liu, Rubin and Wu, 1998). It ascends to the same optima, where the noise is small in
        tens of passes instead of hundreds.

    References
    ----------
    Roweis (1998), NIPS 10, section 5; Ilin and Raiko (2010), J. Mach. Learn. Res. 11, 1957-2000,
    section 3; Liu, Rubin and Wu (1998), Biometrika 85, 755-770.
    """

    expanded: bool = True

    def with_gaps(self) -> Self:
        return self

    def statistics_bytes(self, n_features: int) -> int:
        q = self.n_components
        return 8 * (n_features * ((q + 1) * (q + 2) // 2 + 2 * q + 3) + (q + 1) * (q + 2) // 2)

    def initialize(self, sample: Block, rng: Generator) -> PPCAParameters:
        check_latent(self.n_components, sample.n_features)
        spectral = self.start == "closed" and sample.n_features <= WIDEST
        available = available_moments(sample, spectral)
        _check_observed(available.observed)
        frame = Frame.around(available.mean, np.sqrt(available.variances), isotropic=True)
        if not spectral:
            variance, _ = self.floor.apply(available.variance, available.variance)
            return random_start(available.mean, variance, frame, self.n_components, rng)
        return available.leading(self.n_components, self.floor, frame)

    def expect(self, block: Block, parameters: PPCAParameters) -> MissingPPCAStatistics:
        d, q = parameters.d, parameters.q
        n_pairs = (q + 1) * (q + 2) // 2
        second, cross, latent = np.zeros((d, n_pairs)), np.zeros((d, q + 1)), np.zeros(n_pairs)
        squares, log_likelihood = np.zeros(d), 0.0
        # infinities end in a log-likelihood that is not finite, which whoever asked looks at
        with np.errstate(over="ignore", invalid="ignore"):
            for some in latents(block.values, parameters):
                weights = None if block.weights is None else block.weights[some.rows]
                log_likelihood += _total(some.log_density, weights)
                one = _sums(some, weights)
                second += one[0]
                cross += one[1]
                squares += one[2]
                latent += one[3]
            # from rows less the mean to rows in the frame, which parameters do not move
            mean, means = parameters.framed.mean, unpacked(second, q + 1)[:, :, -1]
            squares += mean * (2 * cross[:, -1] + mean * means[:, -1])
            cross += mean[:, None] * means
        return MissingPPCAStatistics(
            block.mass, log_likelihood, second, cross, squares, latent, parameters.place
        )

    def maximize(self, statistics: MissingPPCAStatistics) -> PPCAParameters:
        """Regress every feature on u = (z, 1), then estimate the noise from what is left.

        The coefficients are a row of W and an entry of the mean; that they do not depend on the
        noise makes this the exact maximum of the expected log-likelihood.
        """
        _check_observed(statistics.observed)
        q = statistics.cross.shape[1] - 1
        second = unpacked(statistics.second, q + 1)
        coefficients = np.linalg.solve(second, statistics.cross[:, :, None])[:, :, 0]
        explained = float((coefficients * statistics.cross).sum())
        left = float(statistics.squares.sum()) - explained
        noise, repaired = self.floor.apply(
            left / float(statistics.observed.sum()), statistics.variance
        )
        mean, loadings = coefficients[:, -1], coefficients[:, :-1].copy()
        if self.expanded:
            mean, loadings = _reduced(mean, loadings, unpacked(statistics.latent, q + 1))
        found = PPCAParameters(mean, loadings, noise, repaired=repaired)
        return found.outward(statistics.frame)


def _total(values: Array, weights: Array | None) -> float:
    return float(values.sum() if weights is None else weights @ values)


def _reduced(mean: Array, loadings: Array, latent: Array) -> tuple[Array, Array]:
    """Mean and loadings for standard normal latent variables, from ones for any normal.

    Parameters
    ----------
    mean : array (d,)
    loadings : array (d, q)
    latent : array (q + 1, q + 1)
        Sum of E[u u'].
    """
    centre = latent[-1, :-1] / latent[-1, -1]
    covariance = latent[:-1, :-1] / latent[-1, -1] - np.outer(centre, centre)
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise DegenerateError(
            f"the covariance of {len(centre)} latent variables is not positive definite; use fewer "
            "of them or a higher floor of the noise variance"
        ) from error
    return mean + loadings @ centre, loadings @ root


def _sums(some: Latents, weights: Array | None) -> tuple[Array, Array, Array, Array]:
    """Second moments, cross moments and squares of rows less the mean; all second moments."""
    q, b = some.means.shape
    u = np.vstack([some.means, np.ones((1, b))])
    weighted = u if weights is None else u * weights
    # summed by pattern first: features see rows with the same gaps alike
    by_row = [some.by_pattern(u[k] * weighted[k:]) for k in range(q + 1)]
    mass = by_row[-1][0]
    for k in range(q):
        by_row[k][:-1] += some.covariances[k, k:] * mass
    second = np.concatenate(by_row)
    squared = some.centred * some.centred
    squares = np.ones(b) @ squared if weights is None else weights @ squared
    seen = second @ (some.patterns @ np.ones(some.patterns.shape[1]) > 0)
    return some.patterns.T @ second.T, some.centred.T @ weighted.T, squares, seen


def _check_observed(observed: Array) -> None:
    never = ~(observed > 0)
    if never.any():
        raise DataError(
            f"{int(never.sum())} of {len(observed)} features are never observed: {listed(never)}; "
            "leave them out"
        )
