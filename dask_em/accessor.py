"""``Dataset.em`` and ``DataArray.em``: models fitted to what xarray holds, in one line.

xarray knows no entry points for accessors, so this module is imported for its effect::

    import dask_em.accessor

    model = ds.em.fit_gaussian_mixture(
        8, features=["temperature", "salinity"], sample_dims=("time", "lat", "lon")
    )
    regimes = ds.em.predict(model)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr

from dask_em.estimators.gaussian_mixture import GaussianMixture
from dask_em.estimators.ppca import PPCA

__all__ = ["Accessor"]

#: arguments of `fit`; all others are the estimator's
OF_FIT = frozenset({"cache", "checkpoint", "client", "mapping", "monitor", "sample_weight"})


@xr.register_dataset_accessor("em")  # type: ignore[no-untyped-call]
@xr.register_dataarray_accessor("em")  # type: ignore[no-untyped-call]
class Accessor:
    """Expectation-Maximization on a Dataset or a DataArray."""

    def __init__(self, data: xr.Dataset | xr.DataArray) -> None:
        self._data = data

    def fit_gaussian_mixture(
        self,
        n_components: int,
        *,
        features: Sequence[str] | None = None,
        sample_dims: Sequence[str] | None = None,
        **options: Any,
    ) -> GaussianMixture:
        """A `GaussianMixture` fitted to these data.

        Parameters
        ----------
        n_components : int
        features, sample_dims : sequence of str, optional
            Which variables make up a row, and which dimensions tell rows apart.
        **options
            ``sample_weight, mapping, client, checkpoint, cache, monitor`` as in `fit`; all others
            are those of the estimator.
        """
        fitting = _of_fit(options)
        model = GaussianMixture(n_components, **options)
        return model.fit(self._data, features=features, sample_dims=sample_dims, **fitting)

    def fit_ppca(
        self,
        n_components: float | str | None = None,
        *,
        features: Sequence[str] | None = None,
        sample_dims: Sequence[str] | None = None,
        **options: Any,
    ) -> PPCA:
        """A `PPCA` fitted to these data; see `fit_gaussian_mixture`."""
        fitting = _of_fit(options)
        model = PPCA(n_components, **options)
        return model.fit(self._data, features=features, sample_dims=sample_dims, **fitting)

    def predict(self, model: Any, **selection: Any) -> Any:
        """Most probable component of each sample, ``class``."""
        return model.predict(self._data, **selection)

    def predict_proba(self, model: Any, **selection: Any) -> Any:
        """Posterior probability of each component for each sample."""
        return model.predict_proba(self._data, **selection)

    def score_samples(self, model: Any, **selection: Any) -> Any:
        """Log-likelihood of each sample, nats."""
        return model.score_samples(self._data, **selection)

    def transform(self, model: Any, **selection: Any) -> Any:
        """Posterior mean of the latent variables of each sample."""
        return model.transform(self._data, **selection)


def _of_fit(options: dict[str, Any]) -> dict[str, Any]:
    """What is for `fit`, taken out of the options."""
    return {name: options.pop(name) for name in list(options) if name in OF_FIT}
