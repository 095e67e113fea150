"""What probabilistic PCA says of single rows, with gaps or without."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dask_em.core.records import Array
from dask_em.models.ppca_gaps import latents
from dask_em.models.ppca_parameters import PPCAParameters

__all__ = ["RowPosterior", "filled", "log_density", "posterior"]


@dataclass(frozen=True, eq=False)
class RowPosterior:
    """What is known of some rows; each answer is computed when it is first asked for."""

    values: Array  # (n, d) rows; NaN is a gap
    parameters: PPCAParameters

    @property
    def scores(self) -> Array:
        """(n, q) posterior mean of the latent variables."""
        if "_means" in vars(self) or np.isnan(self.values).any():
            return self._means[0]
        # without gaps one matrix serves all rows
        with np.errstate(over="ignore", invalid="ignore"):
            centred = np.subtract(self.values, self.parameters.mean, dtype=np.float64)
            centred *= 1 / self.parameters.unit
            return np.asarray(centred @ self.parameters.framed.gain.T)

    @cached_property
    def covariances(self) -> Array:
        """(n, q, q) posterior covariance of the latent variables."""
        q = self.parameters.q
        _, found = posterior(self.values, self.parameters, covariances=True)
        return np.broadcast_to(np.asarray(found), (len(self.values), q, q))

    @property
    def log_density(self) -> Array:
        """(n,) nats, of what is observed; 0 where nothing is."""
        return self._means[1]

    @property
    def filled(self) -> Array:
        """(n, d) rows with their gaps replaced by the posterior mean."""
        return self._filled[0]

    @property
    def reconstructions(self) -> Array:
        """(n, d) posterior mean of the rows without their noise."""
        return self.scores @ self.parameters.loadings.T + self.parameters.mean

    @property
    def deviations(self) -> Array:
        """(n, d) standard deviation of what is put into gaps; 0 for what is observed."""
        return self._filled[1]

    @cached_property
    def _means(self) -> tuple[Array, Array]:
        means, density = np.empty((len(self.values), self.parameters.q)), np.empty(len(self.values))
        with np.errstate(over="ignore", invalid="ignore"):
            for some in latents(self.values, self.parameters):
                means[some.rows] = some.means.T
                density[some.rows] = some.log_density
        # infinite values, or so large that the squares overflow
        density[np.isnan(density)] = -np.inf
        return means, density

    @cached_property
    def _filled(self) -> tuple[Array, Array]:
        return filled(self.values, self.parameters)


def posterior(
    values: Array, parameters: PPCAParameters, covariances: bool = False
) -> tuple[Array, Array | None]:
    """Posterior of the latent variables, Bishop (2006) equations 12.48 and 12.42.

    Parameters
    ----------
    values : array (n, d)
        Rows; NaN is a gap.
    parameters : PPCAParameters
    covariances : bool
        Whether covariances are wanted.

    Returns
    -------
    means : array (n, q)
        Of a row with nothing observed it is the prior's, 0.
    covariances : array (q, q), (n, q, q) or None
        One for all if there are no gaps, one for each row if there are.
    """
    n, q = len(values), parameters.q
    means = np.empty((n, q))
    each = np.empty((n, q, q)) if covariances and np.isnan(values).any() else None
    with np.errstate(over="ignore", invalid="ignore"):
        for some in latents(values, parameters):
            means[some.rows] = some.means.T
            if each is not None:
                each[some.rows] = np.moveaxis(some.by_row(some.covariances), -1, 0)
    if covariances and each is None:
        return means, parameters.posterior_covariance
    return means, each


def log_density(values: Array, parameters: PPCAParameters) -> Array:
    """(n,) log-density of what is observed of rows (n, d), nats; 0 where nothing is."""
    return RowPosterior(values, parameters).log_density


def filled(values: Array, parameters: PPCAParameters) -> tuple[Array, Array]:
    """Rows with their gaps replaced by the posterior mean.

    Parameters
    ----------
    values : array (n, d)
        Rows; NaN is a gap.
    parameters : PPCAParameters

    Returns
    -------
    filled : array (n, d)
        Of the dtype of the values.
    deviations : array (n, d)
        Standard deviation of what a gap hides, noise included; 0 where a value is observed.
    """
    complete = np.array(values)
    deviations = np.zeros(values.shape, values.dtype)
    if not np.isnan(values).any():
        return complete, deviations
    W = parameters.loadings
    products = (W[:, :, None] * W[:, None, :]).reshape(len(W), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        for some in latents(values, parameters):
            gaps = np.isnan(values[some.rows])
            guess = some.means.T @ W.T + parameters.mean
            complete[some.rows] = np.where(gaps, guess, values[some.rows])
            # of every feature, were it a gap: the root of w'Vw + noise
            within = some.covariances.reshape(-1, len(some.starts)).T @ products.T
            spread = some.by_row(np.sqrt(within + parameters.noise_variance).T).T
            deviations[some.rows] = np.where(gaps, spread, 0.0)
    return complete, deviations
