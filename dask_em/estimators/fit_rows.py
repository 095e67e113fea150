"""What every `fit` does with rows: open, select, map, fit; and what it remembers of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dask_em.core.records import Parameters
from dask_em.engine.fit import Fitted
from dask_em.engine.monitor import Monitor
from dask_em.estimators.mapping import prepare
from dask_em.estimators.rows import Selection, features_kept_on_failure, open_rows
from dask_em.estimators.verbose import Verbose
from dask_em.mapping.chain import Chain

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.place import URL

__all__ = ["fit_rows", "of_these_rows"]

P = TypeVar("P", bound=Parameters)


def fit_rows(
    estimator: Any,
    fit: Callable[..., Fitted[P]],
    data: Any,
    sample_weight: Any,
    selection: Selection,
    *,
    client: Client | None,
    checkpoint: URL | None,
    cache: str | int,
    monitor: Monitor | None,
) -> tuple[Fitted[P], np.dtype]:
    """Fit what an estimator describes to the rows that a selection makes of data.

    The estimator remembers the features, the selection and the mapping, unless the fit fails.

    Parameters
    ----------
    fit : callable
        ``fit(estimator, source, client, monitor, checkpoint, cache)``
    data, sample_weight, client, checkpoint, cache, monitor
        As in `GaussianMixture.fit`.

    Returns
    -------
    Fitted, numpy.dtype
        The fit, with the passes that the mapping took; and the dtype of the rows.
    """
    monitor = monitor or Verbose.of(estimator)
    kept = selection.checkpoint(checkpoint, data)
    with features_kept_on_failure(estimator):
        prepared = prepare(
            open_rows(estimator, data, sample_weight, selection, reset=True),
            selection.mapping,
            client=client,
            missing=estimator.missing,
            on_bad_chunk=estimator.on_bad_chunk,
            monitor=monitor,
            checkpoint=kept,
        )
        fitted = fit(estimator, prepared.source, client, monitor, kept, cache)
    estimator._selection, estimator.mapping_ = selection.remembered, prepared.mapping
    return prepared.completed(fitted), np.dtype(prepared.source.schema.dtype)


def of_these_rows(options: Mapping[str, Any]) -> dict[str, Any]:
    """What of the options of a fit belongs to its rows, to be given with them again."""
    steps = Chain.of(options.get("mapping")).of_data
    return {"where": options.get("where"), "mapping": steps or None}
