"""The optimum of Tipping and Bishop (1999), for any number of latent dimensions."""

from __future__ import annotations

import numpy as np

from dask_em.errors import InputError
from dask_em.models.ppca_gram import PPCAStatistics
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import PPCAParameters

__all__ = ["check_latent", "closed_form"]


def closed_form(
    statistics: PPCAStatistics, n_components: int, floor: NoiseFloor | None = None
) -> PPCAParameters:
    """The parameters of greatest likelihood.

    The noise variance is the mean of the eigenvalues of the covariance (divided by the mass) that
    are left out, and the loadings are the leading eigenvectors, scaled to the root of their
    eigenvalue less the noise; Tipping and Bishop (1999), equations 7 and 8. The decomposition is
    made once for all numbers of latent dimensions.

    Parameters
    ----------
    statistics : PPCAStatistics
        Taken at whatever parameters.
    n_components : int
        Latent dimensions, from 0 to d - 1.
    floor : NoiseFloor, optional
        What happens when these explain all of the data.

    Raises
    ------
    InputError
        If there are too many latent dimensions.
    DegenerateError
        If the rows are all equal, or the noise is below the floor and that is an error.
    """
    mean, covariance = statistics.moments
    check_latent(n_components, len(mean), least=0)
    values, vectors = statistics.spectrum
    noise, repaired = (floor or NoiseFloor()).apply(
        float(values[n_components:].mean()), float(np.trace(covariance)) / len(mean)
    )
    lengths = np.sqrt(np.maximum(values[:n_components] - noise, 0.0))
    loadings = vectors[:, :n_components] * lengths
    inside = PPCAParameters(mean, loadings, noise, repaired=repaired)
    return inside.rotated().outward(statistics.frame)


def check_latent(n_components: int, d: int, least: int = 1) -> None:
    """Refuse a number of latent dimensions that d features do not have."""
    if not least <= n_components < d:
        raise InputError(
            f"n_components={n_components} latent dimensions for {d} features; give {least} to "
            f"{d - 1}: one dimension at least is left to the noise"
        )
