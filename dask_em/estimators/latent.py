"""What happens between the `fit` of a PPCA and the engine's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_em.core.model import Model
from dask_em.core.stopping import Stopping
from dask_em.engine.fit import Fitted, fit
from dask_em.engine.limits import one_blas_thread
from dask_em.engine.monitor import Monitor
from dask_em.engine.plan import SUMS
from dask_em.engine.source import Schema, Source
from dask_em.errors import DataError, InputError, PlanError, SchemaError
from dask_em.estimators.chance import fitting_of
from dask_em.models.ppca import PPCA
from dask_em.models.ppca_choice import Choice, ExplainedVariance, LeastBIC, MostWithNoise
from dask_em.models.ppca_closed import check_latent
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_streaming import StreamingPPCA

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.place import URL, Place

__all__ = [
    "SOLVERS",
    "fit_latent",
    "keep_latent",
    "latent_model",
    "latent_parameters",
    "not_converged",
    "or_streamed",
    "show_latent",
    "warn_of_floor",
]

SOLVERS = ("auto", "gram", "em")
#: features above which a scatter of all pairs takes more time, and memory, than a few passes
WIDE = 2000


def fit_latent(
    estimator: Any,
    source: Source,
    client: Client | None,
    monitor: Monitor,
    checkpoint: URL | Place | None = None,
    cache: str | int = "off",
) -> Fitted[PPCAParameters]:
    """Fit the model that a PPCA's parameters describe."""
    model, algorithm = latent_model(estimator, source.schema)
    with or_streamed(model):
        return fit(
            model,
            source,
            client=client,
            stopping=Stopping(estimator.tol, estimator.max_iter, estimator.tol_gap),
            rng=fitting_of(estimator.random_state, checkpoint is not None),
            missing=estimator.missing,
            on_bad_chunk=estimator.on_bad_chunk,
            algorithm=algorithm,
            init_sample=estimator.init_sample,
            checkpoint=checkpoint,
            cache=cache,
            monitor=monitor,
        )


@contextmanager
def or_streamed(model: Model[Any, Any]) -> Iterator[None]:
    """Name the solver that makes a scatter fit which is too large."""
    try:
        yield
    except PlanError as error:
        if isinstance(model, PPCA) and SUMS in str(error):
            raise PlanError(f'{error}, or pass solver="em", which sums d x q numbers') from None
        raise


def latent_model(estimator: Any, schema: Schema) -> tuple[Model[PPCAParameters, Any], str]:
    """The model to fit to rows of a schema, and by which algorithm.

    Raises
    ------
    InputError, SchemaError, DataError
        If there are too many latent dimensions, or the options contradict each other.
    """
    solver = _solver_of(estimator, schema.n_features)
    q, choice = _latent(estimator, schema, solver)
    if solver != "em":
        return PPCA(q, choice=choice), "auto" if solver == "gram" else estimator.algorithm
    if estimator.algorithm == "em":
        return StreamingPPCA(q, "random"), "em"
    return StreamingPPCA(q), "accelerated"


def _solver_of(estimator: Any, d: int) -> str:
    """``"gram"``, ``"em"``, or ``"gaps"``: this alone decides, and `latent_model` obeys."""
    if estimator.missing == "model":
        if estimator.solver == "gram":
            raise InputError(
                'solver="gram" needs whole rows, but missing="model" keeps rows with gaps; set '
                'solver="auto", or missing="drop" to leave such rows out'
            )
        return "gaps"
    if estimator.solver == "gram" and estimator.algorithm == "em":
        raise InputError(
            'solver="gram" takes the optimum in closed form, but algorithm="em" iterates; leave '
            "one of the two out"
        )
    if "em" in (estimator.solver, estimator.algorithm):
        return "em"
    # other numbers of dimensions are decided by the whole spectrum
    counted = isinstance(estimator.n_components, int | np.integer)
    return "em" if estimator.solver == "auto" and counted and d > WIDE else "gram"


def _latent(estimator: Any, schema: Schema, solver: str) -> tuple[int, Choice | None]:
    """How many latent dimensions, or the most of them and what decides."""
    asked, d, n = estimator.n_components, schema.n_features, schema.n_rows
    if d < 2:
        raise SchemaError(
            f"{type(estimator).__name__} needs 2 features or more, but there are n_features = {d}"
        )
    if isinstance(asked, int | np.integer):
        check_latent(int(asked), d)
        if n is not None and asked >= n:
            raise DataError(
                f"n_components={asked} latent dimensions for n_samples = {n} rows; give at most "
                f"{n - 1}"
            )
        return int(asked), None
    most = (d if n is None or solver == "gram" else max(2, min(n, d))) - 1
    if asked is None:
        return most, MostWithNoise() if solver == "gram" else None
    if solver != "gram":
        raise InputError(
            f"n_components={asked!r} is decided by the covariance of whole rows, which "
            f"{_named(estimator)} does not compute; give an int"
        )
    return most, LeastBIC() if asked == "bic" else ExplainedVariance(float(asked))


def _named(estimator: Any) -> str:
    if estimator.missing == "model":
        return 'a fit with missing="model"'
    return f'{"solver" if estimator.solver == "em" else "algorithm"}="em"'


def keep_latent(estimator: Any, fitted: Fitted[PPCAParameters], dtype: np.dtype) -> None:
    """Set the fitted attributes, arrays in the dtype of the rows."""
    found = fitted.parameters
    with one_blas_thread():  # several give other bits
        show_latent(estimator, found.rotated() if estimator.rotation else found, dtype)
    estimator.converged_ = fitted.converged
    estimator.outcome_ = fitted.outcome
    estimator.n_iter_ = len(fitted.objectives)
    estimator.history_ = list(fitted.history)


def show_latent(estimator: Any, parameters: PPCAParameters, dtype: np.dtype) -> None:
    """Show parameters as attributes."""
    with one_blas_thread():
        axes, variances = parameters.principal
    noise = parameters.noise_variance
    total = float(variances.sum()) + (parameters.d - parameters.q) * noise
    estimator.mean_ = parameters.mean.astype(dtype)
    estimator.loadings_ = parameters.loadings.astype(dtype)
    estimator.noise_variance_ = noise
    estimator.components_ = axes.astype(dtype)
    estimator.explained_variance_ = variances.astype(dtype)
    estimator.explained_variance_ratio_ = (variances / total).astype(dtype)
    estimator.n_components_ = parameters.q
    estimator._exact = parameters


def latent_parameters(estimator: Any) -> PPCAParameters:
    """What an estimator's attributes show; unrounded, as long as nobody changed them."""
    exact: PPCAParameters = estimator._exact
    dtype = estimator.mean_.dtype
    if (
        np.array_equal(estimator.mean_, exact.mean.astype(dtype))
        and np.array_equal(estimator.loadings_, exact.loadings.astype(dtype))
        and estimator.noise_variance_ == exact.noise_variance
    ):
        return exact
    return PPCAParameters(
        np.asarray(estimator.mean_, np.float64),
        np.asarray(estimator.loadings_, np.float64),
        float(estimator.noise_variance_),
    )


def not_converged(estimator: Any) -> str:
    """What to do about a fit that did not end by itself."""
    return (
        f"the fit did not converge within max_iter={estimator.max_iter} passes; raise max_iter, or "
        f"tol={estimator.tol:g}"
    )


def warn_of_floor(parameters: PPCAParameters) -> None:
    """Say that the noise is not what was estimated, to who called the caller."""
    if parameters.repaired:
        warnings.warn(
            f"n_components={parameters.q} leaves less than {NoiseFloor().relative:g} of the mean "
            "variance of the features to the noise, so its variance was lifted to the floor of "
            f"{parameters.noise_variance:.3g}; use fewer components, or bring the features to one "
            "scale (StandardScaler)",
            UserWarning,
            stacklevel=3,
        )
