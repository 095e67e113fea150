"""Predictions that are too many to hold, written region by region to Zarr stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dask_em.engine.monitor import Monitor
from dask_em.engine.predict import write
from dask_em.engine.query import Query
from dask_em.engine.stream import Tally
from dask_em.errors import InputError
from dask_em.estimators.asking import prediction_of
from dask_em.estimators.skipped import UNANSWERED, warn_of_skipped
from dask_em.sources.zarr_output import Planned, create_outputs

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["write_answers"]


def write_answers(
    estimator: Any,
    X: Any,
    places: Mapping[type[Query], Any],
    *,
    overwrite: bool = False,
    output_options: Mapping[str, Any] | None = None,
    client: Client | None = None,
    monitor: Monitor | None = None,
    missing: str | None = None,
    **selection: Any,
) -> Tally:
    """Answer for every row in one reading; all outputs are whole or not there.

    Parameters
    ----------
    estimator : fitted estimator
    X : array (..., d), dask array, path, URL, Zarr array or group, or Source
        The rows.
    places : mapping
        Where the answers to each kind of query go; None for what is not wanted.
    missing : str, optional
        Another policy on NaN than the estimator's.
    **selection
        ``features``, ``sample_dims`` and ``storage_options``.
    """
    source = estimator._opened(X, None, selection)
    wanted = {kind: url for kind, url in places.items() if url is not None}
    if not wanted:
        raise InputError(
            "every URL is None, so all rows would be read and nothing written; give one of "
            + ", ".join(kind.name for kind in places)
        )
    prediction = prediction_of(estimator, source, tuple(wanted), missing)
    planned = [
        Planned(url, query.name, query.dtype, query.trailing, query.axes, query.attributes)
        for query, url in zip(prediction.queries, wanted.values(), strict=True)
    ]
    with create_outputs(
        planned, source, overwrite=overwrite, storage_options=output_options
    ) as output:
        tally = write(source, prediction, output, client=client, monitor=monitor)
    warn_of_skipped(tally.bad_chunks, UNANSWERED, "predict")
    return tally
