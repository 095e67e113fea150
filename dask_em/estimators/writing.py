"""Predictions that are too many to hold, written region by region to Zarr stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_em.engine.monitor import Monitor
from dask_em.engine.predict import write
from dask_em.engine.query import Label, LogDensity, Probability, Query
from dask_em.engine.source import Source
from dask_em.engine.stream import Tally
from dask_em.estimators.asking import prediction_of
from dask_em.estimators.skipped import UNANSWERED, warn_of_skipped
from dask_em.sources.zarr_output import Planned, create_outputs

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Wanted", "write_predictions"]

#: name of the array in the store that is written, by what is asked
NAMES: dict[type[Query], str] = {
    Label: "label",
    Probability: "probability",
    LogDensity: "log_density",
}


@dataclass(frozen=True)
class Wanted:
    """Where each kind of answer goes; None for what is not wanted."""

    labels: Any = None
    probabilities: Any = None
    log_density: Any = None

    def places(self) -> dict[type[Query], Any]:
        """The kinds that are wanted, each with its place."""
        kinds: dict[type[Query], Any] = {
            Label: self.labels,
            Probability: self.probabilities,
            LogDensity: self.log_density,
        }
        return {kind: url for kind, url in kinds.items() if url is not None}


def write_predictions(
    estimator: Any,
    source: Source,
    wanted: Wanted,
    *,
    overwrite: bool = False,
    output_options: Mapping[str, Any] | None = None,
    client: Client | None = None,
    monitor: Monitor | None = None,
) -> Tally:
    """Answer for every row of a source in one reading of it; all outputs are whole or not there."""
    places = wanted.places()
    prediction = prediction_of(estimator, source, tuple(places))
    planned = [
        Planned(places[kind], NAMES[kind], query.dtype, query.columns)
        for kind, query in zip(places, prediction.queries, strict=True)
    ]
    with create_outputs(
        planned, source, overwrite=overwrite, storage_options=output_options
    ) as outputs:
        tally = write(source, prediction, outputs, client=client, monitor=monitor)
    warn_of_skipped(tally.bad_chunks, UNANSWERED, "predict")
    return tally
