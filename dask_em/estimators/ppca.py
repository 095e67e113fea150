"""PPCA: probabilistic principal component analysis, for data of any size and with gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.validation import check_is_fitted

from dask_em.core.block import MISSING
from dask_em.core.records import Array
from dask_em.engine.method import ALGORITHMS
from dask_em.engine.monitor import Monitor
from dask_em.engine.query import (
    Covariance,
    Deviation,
    Filled,
    LogDensity,
    Reconstruction,
    Score,
)
from dask_em.errors import SchemaError
from dask_em.estimators.answering import Answering
from dask_em.estimators.asking import answer
from dask_em.estimators.chance import drawing_of
from dask_em.estimators.fit_rows import fit_rows, of_these_rows
from dask_em.estimators.fitting import warn
from dask_em.estimators.latent import (
    SOLVERS,
    fit_latent,
    keep_latent,
    latent_parameters,
    not_converged,
    warn_of_floor,
)
from dask_em.estimators.mapping import unmapped
from dask_em.estimators.rows import Selection
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_streaming import StreamingPPCA

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.engine.stream import Tally
    from dask_em.place import URL

__all__ = ["PPCA"]


class PPCA(  # the mixins come without types
    Answering,
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Probabilistic PCA: rows are ``W z + mean + noise``, in memory, from stores, on clusters.

    Everywhere that rows are expected, a NumPy array, a data frame, a dask array, an xarray Dataset
    or DataArray, the path or URL of a Zarr store, a Zarr array or group, or a `Source` will do.
    Rows in memory give NumPy results; everything else is streamed, on the current Dask client if
    there is one, and gives dask arrays. Rows of xarray give DataArrays with the dimensions,
    coordinates and chunks of the rows, and `fill` and `reconstruct` the variables that came in.

    Complete rows of up to 2,000 features are read once, whatever their number: all follows from
    their scatter. Which chunks the sums are taken near is found by a look at one to four chunks; a
    second pass is made only where the rows turn out to be so far from these that digits were lost.
    Wider rows, and rows with gaps, take a few passes.

    Parameters
    ----------
    n_components : int, float, "bic" or None
        Latent dimensions q, 1 to d - 1. A float above 0 and below 1 is the fraction of the variance
        that the principal axes have to explain, "bic" takes the number of least Bayesian
        information criterion, where the number of rows is the sum of their weights; both follow
        from the same pass. None is as many as there can be: d - 1 or, for "gram", as many as leave
        some noise; otherwise one less than the rows where these are fewer.
    solver : {"auto", "gram", "em"}
        "gram" sums the d x d scatter in one pass and takes the optimum in closed form. "em" needs
        d x q numbers alone and a few passes, which multiply blocks of directions. "auto" is exact
        EM with gaps for ``missing="model"``; otherwise "gram" for up to 2,000 features, or where
        `n_components` is no int, and "em" for more. "gram" and ``algorithm="em"`` exclude each
        other.
    max_iter : int
        Most iterations of EM; each is one pass over the data.
    tol : float
        Stop EM when the log-likelihood changes by less, nats per row.
    missing : {"error", "model", "drop"}
        Whether rows with NaN are refused, used as far as they are observed, or left out: then their
        scores and densities are NaN. "model" takes gaps to say nothing of what they hide (missing
        at random); rows of which nothing is observed are in ``history_[-1].empty`` and get the
        prior. Infinities are always refused.
    rotation : bool
        Whether loadings are turned to the principal axes, rather than left as EM found them.
    random_state : int, RandomState or None
        Chance in starts and in `sample`.
    on_bad_chunk : {"raise", "skip"}
        Whether a chunk of a store that cannot be read ends the work, or is skipped and counted.
        Its rows get NaN.
    algorithm : {"auto", "em", "accelerated"}
        Which parameters a pass of EM tries. "em" is the textbook's, from random loadings for
        complete rows; "accelerated" takes fewer passes. "auto" is "accelerated", but "em" for rows
        with gaps in this process's memory.
    tol_gap : float, optional
        Estimated distance to the optimum at which EM stops, nats per row; see `GaussianMixture`.
    init_sample : int, optional
        Rows of the sample from which EM starts.
    verbose, verbose_interval : int
        Whether and how often to print progress, in iterations.

    Attributes
    ----------
    components_ : array (q, d)
        Principal axes, orthonormal, by falling variance. The entry of an axis that is largest by
        magnitude is positive.
    mean_ : array (d,)
    noise_variance_ : float
        Maximum likelihood: divided by n, not by n - 1 as in scikit-learn's PCA.
    explained_variance_ : array (q,)
        Variance along each axis, noise included; divided by n as well.
    explained_variance_ratio_ : array (q,)
        Its share of the variance of all features.
    loadings_ : array (d, q)
        W, in units of the data.
    n_components_ : int
        q.
    converged_ : bool
    n_iter_ : int
        Passes that took an E-step.
    history_ : list of PassRecord
        One for each full pass over the data.
    outcome_ : Outcome
        How the fit ended; its value is the advice.
    mapping_ : sequence of steps, or None
        What is done to rows before the model sees them; the parameters are in its units.
    n_features_in_, feature_names_in_, feature_units_in_
        Of the data that it was fitted to.
    feature_names_, feature_units_ : tuple of str, or None
        Of the features that the model sees, after `mapping_`.

    References
    ----------
    Tipping and Bishop (1999), J. R. Statist. Soc. B 61, 611-622; Bishop (2006), section 12.2.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            StrOptions({"bic"}),
            None,
        ],
        "solver": [StrOptions(set(SOLVERS))],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "missing": [StrOptions(set(MISSING))],
        "rotation": ["boolean"],
        "random_state": ["random_state"],
        "on_bad_chunk": [StrOptions({"raise", "skip"})],
        "algorithm": [StrOptions(set(ALGORITHMS))],
        "tol_gap": [Interval(Real, 0, None, closed="left"), None],
        "init_sample": [Interval(Integral, 1, None, closed="left"), None],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components: float | str | None = None,
        *,
        solver: str = "auto",
        max_iter: int = 1000,
        tol: float = 1e-6,
        missing: str = "error",
        rotation: bool = True,
        random_state: Any = None,
        on_bad_chunk: str = "raise",
        algorithm: str = "auto",
        tol_gap: float | None = None,
        init_sample: int | None = None,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.missing = missing
        self.rotation = rotation
        self.random_state = random_state
        self.on_bad_chunk = on_bad_chunk
        self.algorithm = algorithm
        self.tol_gap = tol_gap
        self.init_sample = init_sample
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        features: Sequence[str] | None = None,
        sample_dims: Sequence[str] | None = None,
        where: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        mapping: Any = None,
        client: Client | None = None,
        checkpoint: URL | None = None,
        cache: str | int = "off",
        monitor: Monitor | None = None,
    ) -> Self:
        """Estimate mean, loadings and noise.

        Parameters
        ----------
        X : array (..., d), data frame, dask array, path, URL, Zarr array or group, or Source
            The rows, features along the last axis.
        y : ignored
        sample_weight : array, optional
            Weight of each row, at least 0; a weight of 2 counts a row twice, 0 leaves it out.
        features, sample_dims, where, storage_options, mapping, client, checkpoint, cache, monitor
            As in `GaussianMixture.fit`.

        Raises
        ------
        DaskEmError
            With the value, the limit and the remedy.
        """
        self._validate_params()
        selection = Selection(features, sample_dims, storage_options, where, mapping)
        fitted, dtype = fit_rows(
            self,
            fit_latent,
            X,
            sample_weight,
            selection,
            client=client,
            checkpoint=checkpoint,
            cache=cache,
            monitor=monitor,
        )
        keep_latent(self, fitted, dtype)
        warn(self, fitted, not_converged(self))
        warn_of_floor(fitted.parameters)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit_transform(
        self, X: Any, y: Any = None, sample_weight: Any = None, **options: Any
    ) -> Any:
        """`fit`, then `transform` of the same rows."""
        self.fit(X, y, sample_weight, **options)
        return self.transform(X, **of_these_rows(options))

    def transform(self, X: Any, *, return_cov: bool = False, **selection: Any) -> Any:
        """Posterior mean of the latent variables of each row, (..., q).

        It is the projection to the principal axes, in units of its standard deviation, drawn
        towards zero the more noise there is. Lazy input gives a dask array in the chunks of the
        samples.

        Parameters
        ----------
        X : array (..., d), data frame, dask array, path, URL, Zarr array or group, or Source
            The rows.
        return_cov : bool
            Whether the posterior covariance is returned as well: (q, q), the same for all rows, or
            (..., q, q) for ``missing="model"``, where it depends on what is observed of a row.
        **selection
            As in `score_samples`.
        """
        source = self._opened(X, None, selection)
        scores = answer(self, source, Score)
        if not return_cov:
            return scores
        if self.missing == "model":
            return scores, answer(self, source, Covariance)
        return scores, self._parameters.posterior_covariance.astype(source.schema.dtype)

    def inverse_transform(self, X: Any) -> Any:
        """The rows that latent variables (..., q) stand for: ``W z + mean``, (..., d).

        They are in units of the data, `mapping_` undone; a dask array where `X` is lazy.

        What `transform` gives of a row does not lead back to its projection to the principal axes,
        but to its posterior mean, which is nearer to `mean_`.
        """
        check_is_fitted(self)
        X = _array(X)
        if X.ndim < 1 or X.shape[-1] != self.n_components_:
            raise SchemaError(
                f"X has shape {X.shape}, but the model has {self.n_components_} latent dimensions; "
                f"give (..., {self.n_components_})"
            )
        return unmapped(self, X @ self.loadings_.T + self.mean_)

    def fill(self, X: Any, *, return_std: bool = False, **selection: Any) -> Any:
        """The rows with their gaps replaced by the posterior mean, whatever `missing` says.

        They are in units of the data, `mapping_` undone, and so are deviations; what is observed
        stays as it is to the bit. Gaps in features that are not selected stay gaps.

        Parameters
        ----------
        X : array (..., d), data frame, dask array, path, URL, Zarr array or group, or Source
            The rows; NaN is a gap.
        return_std : bool
            Whether the standard deviation of what a gap hides is returned as well, noise included;
            it is 0 where a value is observed.
        **selection
            As in `score_samples`.
        """
        source = self._opened(X, None, selection)
        filled = answer(self, source, Filled, "model")
        return (filled, answer(self, source, Deviation, "model")) if return_std else filled

    def reconstruct(self, X: Any, **selection: Any) -> Any:
        """The posterior mean of each row without its noise: ``W z + mean``, (..., d).

        It is `inverse_transform` of what `transform` gives, for rows of any kind: those of xarray
        come back as their variables. With ``missing="model"``, gaps are filled. It is in units of
        the data, `mapping_` undone; features that are not selected are NaN.

        Parameters
        ----------
        X : array (..., d), data frame, dask array, xarray object, path, URL, Zarr or Source
            The rows.
        **selection
            As in `score_samples`.
        """
        return answer(self, self._opened(X, None, selection), Reconstruction)

    def get_covariance(self) -> Array:
        """(d, d) covariance of the rows, squared units of the data."""
        check_is_fitted(self)
        return self._parameters.covariance

    def get_precision(self) -> Array:
        """(d, d) inverse of the covariance."""
        check_is_fitted(self)
        return self._parameters.precision

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Array:
        """Rows (n, d) drawn from the density; see `GaussianMixture.sample` for chance."""
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples}; it must be 1 or more")
        rng = drawing_of(self, random_state)
        return self._model.sample(n_samples, self._parameters, rng)[0]

    def write_scores(
        self,
        X: Any,
        url: Any,
        *,
        log_density: Any = None,
        reconstruction: Any = None,
        **options: Any,
    ) -> Tally:
        """Write what `transform` gives, piece by piece, reading once.

        Parameters
        ----------
        X : array (..., d), dask array, path, URL, Zarr array or group, or Source
            The rows.
        url : str or path
            Of the Zarr group to be made; its array ``score`` has the shape (..., q). Rows of
            Parquet are answered in Parquet, in columns ``score_0`` and so on.
        log_density, reconstruction : str, path or True, optional
            Of further groups, for what `score_samples` and `reconstruct` give; True stands for
            `url`.
        **options
            ``keys, overwrite, output_options, client, monitor, checkpoint``, and what selects rows,
            as in `GaussianMixture.write_predictions`.

        Returns
        -------
        Tally
            Rows and bytes that were read, chunks that were skipped.
        """
        from dask_em.estimators.writing import write_answers

        places = {Score: url, LogDensity: log_density, Reconstruction: reconstruction}
        return write_answers(self, X, places, **options)

    def write_filled(self, X: Any, url: Any, *, deviation: Any = None, **options: Any) -> Tally:
        """Write what `fill` gives, piece by piece, reading once.

        The array ``filled`` has the shape (..., d); with `deviation`, the URL of a further group,
        the standard deviations go there, with True beside it. In Parquet, filled columns keep
        their names, and deviations are in ``temp_deviation`` and so on. Else as `write_scores`.
        """
        from dask_em.estimators.writing import write_answers

        return write_answers(
            self, X, {Filled: url, Deviation: deviation}, missing="model", **options
        )

    @property
    def _model(self) -> StreamingPPCA:
        # to ask and not to fit: no question needs the scatter of all pairs of features
        return StreamingPPCA(self.n_components_)

    @property
    def _parameters(self) -> PPCAParameters:
        return latent_parameters(self)

    @property
    def _n_features_out(self) -> int:
        return int(self.n_components_)

    def _n_parameters(self) -> int:
        return self._parameters.n_free_parameters


def _array(latent: Any) -> Any:
    """Latent variables as an array, a lazy one where they are lazy."""
    if hasattr(latent, "to_dask_array"):  # a dask DataFrame
        return latent.to_dask_array()
    if hasattr(latent, "dims"):  # an xarray.DataArray
        latent = latent.data
    return latent if hasattr(latent, "dask") else np.asarray(latent)
