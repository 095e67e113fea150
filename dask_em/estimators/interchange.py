"""Fitted mixtures from scikit-learn's class and to it."""

from __future__ import annotations

import warnings
from copy import copy
from typing import Any

from sklearn.mixture import GaussianMixture

from dask_em.core.stopping import Outcome

__all__ = ["SHARED", "take_fitted", "to_sklearn"]

#: the attributes of a fit that both classes have
SHARED = (
    *("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"),
    *("converged_", "n_iter_", "lower_bound_", "lower_bounds_"),
    *("n_features_in_", "feature_names_in_"),
)


def to_sklearn(estimator: Any) -> GaussianMixture:
    """The same mixture as scikit-learn's class."""
    if getattr(estimator, "mapping_", None):
        warnings.warn(
            "rows were mapped before this mixture saw them, and scikit-learn's class does not know "
            "of it; give it rows that are mapped, or standardize them in a Pipeline",
            UserWarning,
            stacklevel=3,
        )
    theirs = GaussianMixture().get_params()
    mine = estimator.get_params()
    twin = GaussianMixture(**{name: mine[name] for name in theirs})
    twin.n_components = len(estimator.weights_)  # fewer than asked for where some were dropped
    _copy(estimator, twin)
    return twin


def take_fitted(fitted: GaussianMixture, estimator: Any) -> None:
    """Give an estimator what scikit-learn fitted."""
    _copy(fitted, estimator)
    estimator.outcome_ = Outcome.CONVERGED if fitted.converged_ else Outcome.ITERATION_LIMIT
    estimator.history_ = []


def _copy(one: Any, other: Any) -> None:
    for name in SHARED:
        if hasattr(one, name):
            setattr(other, name, copy(getattr(one, name)))
