"""The mixture that an estimator describes; given starts are checked as scikit-learn does it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array

from dask_em.core.records import Array
from dask_em.errors import SchemaError
from dask_em.models.covariance import STRUCTURES
from dask_em.models.gaussian import Gaussian, Gaussians
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.models.seeding import STARTS, Given, Start
from dask_em.models.structure import Structure

__all__ = ["mixture_of"]


def mixture_of(estimator: Any, d: int) -> tuple[Mixture, MixtureParameters | None]:
    """The mixture to fit to rows of d features, and where to start if all of that is given.

    Raises
    ------
    SchemaError
        If a given array does not have its shape, or its values are impossible.
    """
    parameters, start = _checked_start(estimator, STARTS[estimator.init_params], d)
    structure = STRUCTURES[estimator.covariance_type]
    emission = Gaussian(structure, estimator.reg_covar, repair=estimator.degenerate != "raise")
    return Mixture(emission, estimator.n_components, start, estimator.degenerate), parameters


def _checked_start(
    estimator: Any, otherwise: Start, d: int
) -> tuple[MixtureParameters | None, Start]:
    """Parameters if all of them are given, and the start that completes them if they are not."""
    k, structure = estimator.n_components, STRUCTURES[estimator.covariance_type]
    weights = _weights(estimator.weights_init, k)
    means = _array(estimator.means_init, "means", (k, d))
    precisions = _precisions(estimator.precisions_init, structure, k, d)
    if weights is not None and means is not None and precisions is not None:
        covariances = structure.covariances(structure.factor_of_precisions(precisions))
        components = Gaussians(means, covariances, structure)
        return MixtureParameters(weights / weights.sum(), components), otherwise
    if weights is None and means is None and precisions is None:
        return None, otherwise
    return None, Given(otherwise, weights, means, precisions)


def _array(values: Any, name: str, shape: tuple[int, ...]) -> Array | None:
    if values is None:
        return None
    array = check_array(values, dtype=np.float64, ensure_2d=False, allow_nd=True)
    if array.shape != shape:
        raise SchemaError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    return np.asarray(array)


def _weights(values: Any, k: int) -> Array | None:
    weights = _array(values, "weights", (k,))
    if weights is None:
        return None
    if (weights < 0).any() or (weights > 1).any():
        # scikit-learn's text, with the values where its words say they are
        raise SchemaError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    if not np.isclose(weights.sum(), 1.0, rtol=0, atol=1e-6):
        raise SchemaError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{weights.sum():.5f}"
        )
    return weights


def _precisions(values: Any, structure: Structure, k: int, d: int) -> Array | None:
    name = structure.name
    precisions = _array(values, f"{name} precision", structure.shape(k, d))
    if precisions is None:
        return None
    if precisions.ndim < 2 or name == "diag":
        if (precisions <= 0).any():
            raise SchemaError(f"'{name} precision' should be positive")
        return precisions
    symmetric = np.allclose(precisions, np.swapaxes(precisions, -1, -2))
    if not symmetric or not (np.linalg.eigvalsh(precisions) > 0).all():
        raise SchemaError(f"'{name} precision' should be symmetric, positive-definite")
    return precisions
