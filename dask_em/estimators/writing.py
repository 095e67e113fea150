"""Predictions that are too many to hold, written region by region to Zarr stores."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_em.core.block import Missing
from dask_em.engine.monitor import Monitor
from dask_em.engine.predict import Label, LogDensity, Prediction, Probability, Query, write
from dask_em.engine.source import Source
from dask_em.engine.stream import Tally
from dask_em.sources.zarr_output import create_output

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

    def pairs(self) -> list[tuple[type[Query], Any]]:
        """The kinds that are wanted, each with its place."""
        kinds: tuple[type[Query], ...] = (Label, Probability, LogDensity)
        places = (self.labels, self.probabilities, self.log_density)
        return [pair for pair in zip(kinds, places, strict=True) if pair[1] is not None]


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
    """Answer for every row of a source in one reading of it; each output is whole or not there."""
    outputs = []
    with ExitStack() as stack:
        for kind, url in wanted.pairs():
            query = kind(estimator._model, estimator._parameters, source.schema.dtype)
            output = stack.enter_context(
                create_output(
                    url,
                    source.schema,
                    query.columns,
                    query.dtype,
                    name=NAMES[kind],
                    overwrite=overwrite,
                    storage_options=output_options,
                )
            )
            outputs.append((Prediction(query, Missing(estimator.missing)), output))
        return write(source, tuple(outputs), client=client, monitor=monitor)
