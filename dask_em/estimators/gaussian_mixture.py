"""GaussianMixture: a drop-in for scikit-learn's, for data of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sklearn import mixture as sklearn_mixture
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from dask_em.core.records import Array
from dask_em.engine.method import ALGORITHMS
from dask_em.engine.monitor import Monitor
from dask_em.engine.query import Label, LogDensity, Probability
from dask_em.estimators.answering import Answering
from dask_em.estimators.asking import answer
from dask_em.estimators.chance import drawing_of
from dask_em.estimators.fit_rows import fit_rows, of_these_rows
from dask_em.estimators.fitting import keep, model_of, parameters_of, run, warn
from dask_em.estimators.interchange import take_fitted, to_sklearn
from dask_em.estimators.rows import Selection
from dask_em.models.covariance import STRUCTURES
from dask_em.models.mixture import POLICIES, Mixture, MixtureParameters

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.engine.stream import Tally
    from dask_em.place import URL

__all__ = ["GaussianMixture"]


class GaussianMixture(Answering, DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Gaussian mixture fitted by Expectation-Maximization, in memory, from stores, on clusters.

    Everywhere that rows are expected, a NumPy array, a dask array, an xarray Dataset or DataArray,
    the path or URL of a Zarr store, a Zarr array or group, or a `Source` will do. Rows in memory
    give NumPy results; everything else is streamed, on the current Dask client if there is one, and
    gives dask arrays. Rows of xarray give DataArrays with the dimensions, coordinates and chunks of
    the rows, computed where these are in memory, lazy otherwise.

    Parameters
    ----------
    n_components : int
        Number of components k.
    covariance_type : {"full", "tied", "diag", "spherical"}
        Structure of the covariances.
    tol : float
        Stop when the log-likelihood changes by less, nats per row.
    reg_covar : float
        Added to every variance, squared units of the data.
    max_iter : int
        Most iterations; each is one pass over the data.
    n_init : int
        Starts to try; the best result is kept.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}
        How a start is made, on a sample of the rows, in whitened coordinates.
    weights_init, means_init, precisions_init : array-like, optional
        Given starts: (k,), (k, d), and the shape of the precisions.
    random_state : int, RandomState or None
        Chance in the starts.
    warm_start : bool
        Whether a second `fit` goes on where the first ended.
    verbose, verbose_interval : int
        Whether and how often to print progress, in iterations.
    missing : {"error", "drop"}
        Whether rows with NaN are refused, or left out: they get label -1 and density NaN.
    degenerate : {"repair", "drop", "raise"}
        What happens to components that are empty, equal to another, or singular. Every repair is
        in `history_`.
    on_bad_chunk : {"raise", "skip"}
        Whether a chunk of a store that cannot be read ends the work, or is skipped and counted.
        Its rows get label -1 and density NaN.
    algorithm : {"auto", "em", "accelerated"}
        Which parameters a pass over the data tries. "em" is the textbook's and scikit-learn's;
        "accelerated" reaches the optimum in a few passes, and stops there rather than where the
        gain falls below `tol`. "auto" is "em" for rows in this process's memory.
    tol_gap : float, optional
        Estimated distance to the optimum at which to stop, nats per row; by default 1e-6, or `tol`
        if that is less, for accelerated fits, and `tol` alone counts for others.
    init_sample : int, optional
        Rows of the sample from which a fit starts and that stands for all rows between passes.

    Attributes
    ----------
    weights_ : array (k,)
    means_ : array (k, d)
    covariances_, precisions_, precisions_cholesky_ : array
        full (k, d, d), tied (d, d), diag (k, d), spherical (k,)
    converged_ : bool
    n_iter_ : int
    lower_bound_ : float
        Log-likelihood before the last M-step, nats per row.
    lower_bounds_ : list of float
        The same for each iteration.
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
    Dempster, Laird and Rubin (1977); Bishop (2006), section 9.2.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **sklearn_mixture.BayesianGaussianMixture.__mro__[1]._parameter_constraints,
        "covariance_type": [StrOptions(set(STRUCTURES))],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
        "missing": [StrOptions({"error", "drop"})],
        "degenerate": [StrOptions(set(POLICIES))],
        "on_bad_chunk": [StrOptions({"raise", "skip"})],
        "algorithm": [StrOptions(set(ALGORITHMS))],
        "tol_gap": [Interval(Real, 0, None, closed="left"), None],
        "init_sample": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        missing: str = "error",
        degenerate: str = "repair",
        on_bad_chunk: str = "raise",
        algorithm: str = "auto",
        tol_gap: float | None = None,
        init_sample: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.missing = missing
        self.degenerate = degenerate
        self.on_bad_chunk = on_bad_chunk
        self.algorithm = algorithm
        self.tol_gap = tol_gap
        self.init_sample = init_sample

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
        """Estimate the mixture.

        Parameters
        ----------
        X : array (..., d), data frame, dask array, path, URL, Zarr array or group, or Source
            The rows, features along the last axis. Paths and URLs are those of Zarr stores, or of
            Parquet: a file, a folder, a glob, or a list of them.
        y : ignored
        sample_weight : array, optional
            Weight of each row, at least 0; a weight of 2 counts a row twice, 0 leaves it out. For
            xarray also a DataArray of some of the sample dimensions, such as the cosine of the
            latitude, or the name of a variable.
        features, sample_dims : sequence of str, optional
            Which arrays of a Zarr group, variables of a Dataset or columns of a table make up a
            row, and which of their dimensions tell rows apart; the others, such as levels, are
            features. A variable of a Dataset that lacks some is repeated along them. Columns are
            also named by patterns such as ``temp*``. Remembered for `predict` and the others.
        where : str, optional
            Which rows of Parquet are read, such as ``"depth < 1000 and year >= 2010"``. It belongs
            to these rows and is not remembered.
        storage_options : mapping, optional
            What fsspec needs to open a URL.
        mapping : sequence of steps, optional
            What is done to the rows before the model sees them, chunk by chunk as they are read:
            `Standardize`, `Centre`, `Scale`, `Log`, `Anomaly`, `Select`, `RowMask`, one after the
            other. It is kept with the model and done by `predict` and the others; parameters are in
            its units.
        client : distributed.Client, optional
            The cluster to work on; by default the current one.
        checkpoint : str or path, optional
            Of a folder, local or of any file system that fsspec opens (with `storage_options`,
            where it has the protocol of `X`), in which every pass leaves all that the next one
            depends on. The same call goes on from there, bit for bit; `tol`,
            `tol_gap`, `max_iter` and the cluster may be others. Remove it when the fit is done.
        monitor : Monitor, optional
            Told of passes and tasks.
        cache : {"off", "auto"} or int
            Bytes of decoded chunks that each worker keeps in memory from pass to pass; "auto" is
            what its memory has left. Results are the same to the bit.

        Raises
        ------
        DaskEmError
            With the value, the limit and the remedy.
        """
        self._validate_params()
        selection = Selection(features, sample_dims, storage_options, where, mapping)
        fitted, dtype = fit_rows(
            self,
            run,
            X,
            sample_weight,
            selection,
            client=client,
            checkpoint=checkpoint,
            cache=cache,
            monitor=monitor,
        )
        keep(self, fitted, dtype)
        warn(self, fitted)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> Any:
        """`fit`, then `predict` of the same rows."""
        self.fit(X, y, sample_weight, **options)
        return self.predict(X, **of_these_rows(options))

    def predict(self, X: Any, **selection: Any) -> Any:
        """Most probable component of each row, in the shape of the samples.

        Lazy input gives a dask array. With ``missing="drop"``, rows that hold NaN get -1.
        A dask DataFrame gives a Series or a DataFrame with its index and partitions. What selects
        rows is as in `score_samples`.
        """
        return answer(self, self._opened(X, None, selection), Label)

    def predict_proba(self, X: Any, **selection: Any) -> Any:
        """Posterior probability of each component for each row: (..., k), see `predict`."""
        return answer(self, self._opened(X, None, selection), Probability)

    def write_predictions(
        self,
        X: Any,
        url: Any,
        *,
        probabilities: Any = None,
        log_density: Any = None,
        keys: Sequence[str] | None = None,
        overwrite: bool = False,
        output_options: Mapping[str, Any] | None = None,
        client: Client | None = None,
        monitor: Monitor | None = None,
        checkpoint: URL | None = None,
        **selection: Any,
    ) -> Tally:
        """Write the label of every row, piece by piece, reading once.

        Rows of Parquet are answered in Parquet, file for file and row for row; all others in a
        Zarr store.

        Parameters
        ----------
        X : array (..., d), dask array, path, URL, Zarr array or group, or Source
            The rows.
        url : str or path
            Of the Zarr group, whose array ``class`` has the shape of the samples, or of the folder
            of Parquet files with a column ``class``.
        probabilities, log_density : str, path or True, optional
            Of further groups, for what `predict_proba` and `score_samples` give; True stands for
            `url`, and is all that there is for Parquet, whose columns are ``probability_0`` and so
            on, and ``log_likelihood``.
        keys : sequence of str, optional
            Columns of Parquet, by name or pattern, that are copied to stand before the answers.
        overwrite : bool
            Whether outputs that are there are replaced.
        output_options : mapping, optional
            What fsspec needs to open the URLs that are written.
        client, monitor
            As in `fit`.
        checkpoint : str or path, optional
            Of a folder, local or behind a URL, in which it is kept what is written. The same call
            goes on from there, however it was broken off, and gives the same bits; if the outputs
            are whole already, it does nothing.
        **selection
            As in `score_samples`.

        Returns
        -------
        Tally
            Rows and bytes that were read, chunks that were skipped.
        """
        from dask_em.estimators.writing import write_answers

        return write_answers(
            self,
            X,
            {Label: url, Probability: probabilities, LogDensity: log_density},
            keys=keys,
            overwrite=overwrite,
            output_options=output_options,
            client=client,
            monitor=monitor,
            checkpoint=checkpoint,
            **selection,
        )

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[Array, Array]:
        """Rows (n, d) drawn from the mixture, sorted by component, and their components (n,).

        Without `random_state`, each call draws other rows; with an int in the estimator's
        `random_state`, the same sequence of them.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least "
                "one sample."
            )
        return self._model.sample(n_samples, self._parameters, drawing_of(self, random_state))

    @property
    def _model(self) -> Mixture:
        return model_of(self)

    @property
    def _parameters(self) -> MixtureParameters:
        return parameters_of(self)

    def _n_parameters(self) -> int:
        return self._model.n_free_parameters(self._parameters)

    def to_sklearn(self) -> sklearn_mixture.GaussianMixture:
        """The same mixture as scikit-learn's class, fitted attributes included."""
        check_is_fitted(self)
        return to_sklearn(self)

    @classmethod
    def from_sklearn(cls, fitted: sklearn_mixture.GaussianMixture) -> Self:
        """A mixture that scikit-learn fitted, for use on data of any size."""
        check_is_fitted(fitted)
        twin = cls(**fitted.get_params())
        take_fitted(fitted, twin)
        return twin
