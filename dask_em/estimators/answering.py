"""Answering: what every fitted estimator says of rows, and how it is saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sklearn.utils.validation import check_is_fitted

from dask_em.engine.query import LogDensity
from dask_em.engine.source import Source
from dask_em.estimators.asking import answer, criteria_of, score_of
from dask_em.estimators.mapping import fitted_features, mapped_for
from dask_em.estimators.rows import Selection, open_rows

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

    from dask_em.mapping.chain import Chain

__all__ = ["Answering"]


class Answering(ABC):
    """Densities, criteria and archives of a fitted density, whatever the density."""

    missing: str

    @abstractmethod
    def _n_parameters(self) -> int:
        """Free parameters."""

    #: what is done to rows before the model sees them; None where nothing is
    mapping_: Chain | None

    @property
    def feature_names_(self) -> tuple[str, ...] | None:
        """Names of the features that the model sees; None where they have none."""
        return fitted_features(self).names

    @property
    def feature_units_(self) -> tuple[str | None, ...] | None:
        """Their units after `mapping_`, which are those of the parameters; None if not known."""
        return fitted_features(self).units

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = self.missing != "error"
        return tags

    def score_samples(self, X: Any, **selection: Any) -> Any:
        """Log-density of each row, nats, in the shape of the samples.

        Lazy input gives a dask array. Rows that are left out get NaN; where rows have gaps, it is
        the density of what is observed.

        Parameters
        ----------
        X : array (..., d), dask array, path, URL, Zarr array or group, or Source
            The rows.
        **selection
            ``features``, ``sample_dims`` and ``storage_options``, those of `fit` unless given;
            ``where``, and of ``mapping`` `RowMask` and `Groups`, belong to these rows and are
            given with them.
        """
        return answer(self, self._opened(X, None, selection), LogDensity)

    def score(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        client: Client | None = None,
        **selection: Any,
    ) -> float:
        """Mean log-likelihood, nats per row; weighted with `sample_weight`. One pass.

        What selects rows is as in `score_samples`.
        """
        source = self._opened(X, sample_weight, selection)
        return score_of(self, source, client).log_likelihood

    def bic(self, X: Any, sample_weight: Any = None, **selection: Any) -> float:
        """Bayesian information criterion, nats times two; lower is better. One pass.

        The number of rows in it is the sum of their weights.
        """
        found = score_of(self, self._opened(X, sample_weight, selection))
        return criteria_of(self, found).bic

    def aic(self, X: Any, sample_weight: Any = None, **selection: Any) -> float:
        """Akaike information criterion, nats times two; lower is better. One pass."""
        found = score_of(self, self._opened(X, sample_weight, selection))
        return criteria_of(self, found).aic

    def save(
        self,
        url: Any,
        *,
        overwrite: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the fitted model to a path or URL, whole or not at all; see `dask_em.load`."""
        from dask_em.estimators.persistence import save

        check_is_fitted(self)
        save(self, url, overwrite=overwrite, storage_options=storage_options)

    def to_xarray(self) -> xr.Dataset:
        """The parameters as a Dataset, along ``component`` and ``feature``.

        Features have their names and, where they are parts of a variable, its name and their places
        along its other dimensions as coordinates.
        """
        from dask_em.estimators.dataset import dataset_of

        check_is_fitted(self)
        return dataset_of(self)

    def _opened(self, X: Any, sample_weight: Any, selection: dict[str, Any]) -> Source:
        check_is_fitted(self)
        remembered, given = getattr(self, "_selection", Selection()), Selection.given(selection)
        names = getattr(self, "feature_names_in_", None)
        chosen = given.or_else(remembered.meant_for(X, names, given.storage_options))
        source = open_rows(self, X, sample_weight, chosen, reset=False)
        return mapped_for(self, source, given.mapping)
