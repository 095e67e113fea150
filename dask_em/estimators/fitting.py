"""What happens between an estimator's `fit` and the engine's."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dask_em.core.records import Array
from dask_em.core.stopping import Outcome, Stopping
from dask_em.engine.fit import Fitted, fit
from dask_em.engine.monitor import Monitor
from dask_em.engine.source import Source
from dask_em.errors import DataError, SchemaError
from dask_em.estimators.chance import fitting_of
from dask_em.estimators.given import mixture_of
from dask_em.estimators.skipped import warn_of_skipped
from dask_em.models.covariance import STRUCTURES
from dask_em.models.gaussian import Gaussian, Gaussians
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.models.seeding import STARTS

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.place import URL, Place

__all__ = ["keep", "model_of", "parameters_of", "run", "set_arrays", "warn"]

#: scikit-learn's words
NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase "
    "max_iter, tol, or check for degenerate data."
)


def run(
    estimator: Any,
    source: Source,
    client: Client | None,
    monitor: Monitor,
    checkpoint: URL | Place | None = None,
    cache: str | int = "off",
) -> Fitted[MixtureParameters]:
    """Fit the mixture that an estimator's parameters describe."""
    _check_enough_rows(source, estimator.n_components)
    continued = estimator.warm_start and hasattr(estimator, "converged_")
    model, start = mixture_of(estimator, source.schema.n_features)
    return fit(
        model,
        source,
        client=client,
        start=_continued(estimator, source.schema.n_features) if continued else start,
        stopping=Stopping(estimator.tol, estimator.max_iter, estimator.tol_gap),
        previous=estimator.lower_bound_ if continued else -float("inf"),
        n_init=estimator.n_init,
        rng=fitting_of(estimator.random_state, checkpoint is not None),
        missing=estimator.missing,
        on_bad_chunk=estimator.on_bad_chunk,
        algorithm=estimator.algorithm,
        init_sample=estimator.init_sample,
        checkpoint=checkpoint,
        cache=cache,
        monitor=monitor,
    )


def _check_enough_rows(source: Source, n_components: int) -> None:
    """Refuse fewer rows than components before any pass, where the number is known."""
    rows = source.schema.n_rows
    if rows is not None and rows < n_components:
        raise DataError(
            f"Expected n_samples >= n_components but got n_components = {n_components}, "
            f"n_samples = {rows}"
        )


def _continued(estimator: Any, d: int) -> MixtureParameters:
    """Where the last fit ended."""
    found: MixtureParameters = estimator._parameters
    components: Any = found.components
    name = components.structure.name
    if components.means.shape[1] == d and name == estimator.covariance_type:
        return found
    raise SchemaError(
        f"warm_start=True goes on from {components.means.shape[1]} features and {name!r} "
        f"covariances, but there are {d} features and covariance_type="
        f"{estimator.covariance_type!r}; set warm_start=False to start anew"
    )


def keep(estimator: Any, fitted: Fitted[MixtureParameters], dtype: np.dtype) -> None:
    """Set the fitted attributes, arrays in the dtype of the rows."""
    set_arrays(estimator, fitted.parameters, dtype)
    estimator.converged_ = fitted.converged
    estimator.outcome_ = fitted.outcome
    estimator.lower_bound_ = fitted.objective
    estimator.lower_bounds_ = fitted.objectives
    estimator.n_iter_ = len(fitted.objectives)
    estimator.history_ = list(fitted.history)


def set_arrays(estimator: Any, parameters: MixtureParameters, dtype: np.dtype) -> None:
    """Show parameters as scikit-learn's attributes."""
    for name, array in _arrays(parameters).items():
        setattr(estimator, name, array.astype(dtype))
    estimator._exact = parameters


def model_of(estimator: Any) -> Mixture:
    """The model whose parameters a fitted estimator has, to ask and not to fit."""
    emission = Gaussian(STRUCTURES[estimator.covariance_type], estimator.reg_covar)
    return Mixture(emission, len(estimator.weights_), STARTS["kmeans"])


def parameters_of(estimator: Any) -> MixtureParameters:
    """The mixture that an estimator's attributes show.

    Attributes of float32 rows are rounded, which can cost a covariance its positive eigenvalues; so
    the exact parameters are used as long as the attributes are theirs.
    """
    exact: MixtureParameters | None = getattr(estimator, "_exact", None)
    if exact is not None and all(
        np.array_equal(getattr(estimator, name), array.astype(estimator.means_.dtype))
        for name, array in _arrays(exact).items()
    ):
        return exact
    components = Gaussians.of_factors(
        np.asarray(estimator.means_, np.float64),
        np.asarray(estimator.precisions_cholesky_, np.float64),
        STRUCTURES[estimator.covariance_type],
    )
    return MixtureParameters(np.asarray(estimator.weights_, np.float64), components)


def _arrays(parameters: MixtureParameters) -> dict[str, Array]:
    components: Any = parameters.components
    return {
        "weights_": parameters.weights,
        "means_": components.means,
        "covariances_": components.covariances,
        "precisions_cholesky_": components.factors,
        "precisions_": components.structure.precisions(components.factors),
    }


def warn(estimator: Any, fitted: Fitted[Any], not_converged: str = NOT_CONVERGED) -> None:
    """Say once, at the end, what the user should know."""
    if fitted.outcome in (Outcome.DESCENDED, Outcome.STALLED):
        _warn(fitted.outcome.advice, ConvergenceWarning)
    elif not fitted.converged and estimator.max_iter > 0:
        _warn(not_converged, ConvergenceWarning)
    skipped = fitted.history[-1].bad_chunks if fitted.history else 0
    warn_of_skipped(skipped, "the model knows nothing of the rows there", "fit")


def _warn(text: str, category: type[Warning]) -> None:
    warnings.warn(text, category, stacklevel=4)  # where the user called fit
