"""Predictions that are too many to hold, written piece by piece to Zarr stores or Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dask_em.engine.monitor import Monitor
from dask_em.engine.query import Query
from dask_em.engine.stream import Tally
from dask_em.engine.writing import retold, write
from dask_em.errors import ArchiveError, InputError, SourceError
from dask_em.estimators.asking import prediction_of
from dask_em.estimators.mapping import recalled
from dask_em.estimators.resuming import checkpoint_at, is_finished, open_ledger
from dask_em.estimators.skipped import UNANSWERED, warn_of_skipped
from dask_em.sources.outputs import create_outputs
from dask_em.sources.zarr_output import Planned

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.place import URL, Place

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
    keys: Sequence[str] | None = None,
    checkpoint: URL | Place | None = None,
    **selection: Any,
) -> Tally:
    """Answer for every row in one reading; all outputs are whole or not there.

    Parameters
    ----------
    estimator : fitted estimator
    X : array (..., d), dask array, path, URL, Zarr array or group, or Source
        The rows.
    places : mapping
        Where the answers to each kind of query go; None for what is not wanted, True for where
        those to the first kind go. For rows of Parquet only that is possible.
    missing : str, optional
        Another policy on NaN than the estimator's.
    keys : sequence of str, optional
        Columns of Parquet that are copied to stand beside the answers.
    checkpoint : str, path or Place, optional
        A folder, local or behind a URL, in which it is kept which regions are written. The same
        call goes on from there, however it was broken off, and ends with the same bits; once the
        outputs are whole, it finds them so and does nothing.
    **selection
        As in `Answering.score_samples`.
    """
    source = estimator._opened(X, None, selection)
    wanted = _wanted(places)
    source = recalled(source, wanted)
    prediction = prediction_of(estimator, source, tuple(wanted), missing)
    planned = [
        Planned(url, query.name, query.dtype, query.trailing, query.axes, query.attributes)
        for query, url in zip(prediction.queries, wanted.values(), strict=True)
    ]
    ledger = None
    if checkpoint is not None:
        to, options = planned[0].url, selection.get("storage_options")
        place = checkpoint_at(checkpoint, to, output_options, X, options)
        ledger = open_ledger(place, source, prediction, planned, keys, output_options)
    monitor = monitor or Monitor()
    if ledger is not None and is_finished(ledger, planned, output_options):
        tally = retold(ledger, monitor)
    else:
        try:
            with create_outputs(
                planned,
                source,
                keys=keys,
                overwrite=overwrite,
                storage_options=output_options,
                ledger=ledger,
            ) as output:
                tally = write(
                    source, prediction, output, client=client, monitor=monitor, ledger=ledger
                )
        except (ArchiveError, SourceError):
            # another process may have made the same call, and come to the end first
            if ledger is None or not is_finished(now := ledger.again(), planned, output_options):
                raise
            tally = retold(now, monitor)
    warn_of_skipped(tally.bad_chunks, UNANSWERED, "predict")
    return tally


def _wanted(places: Mapping[type[Query], Any]) -> dict[type[Query], Any]:
    """The place of each kind of answer that is wanted."""
    first, *_ = places.values()
    wanted = {
        kind: first if place is True else place
        for kind, place in places.items()
        if place is not None and place is not False
    }
    if not wanted:
        raise InputError(
            "every URL is None, so all rows would be read and nothing written; give one of "
            + ", ".join(kind.name for kind in places)
        )
    if any(place is None or place is True for place in wanted.values()):
        raise InputError(
            "True stands for the first URL, which is not given; give a URL for what is written"
        )
    return wanted
