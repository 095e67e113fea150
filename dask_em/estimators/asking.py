"""What an estimator is asked, as a Prediction of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_em.core.block import Missing
from dask_em.engine.predict import Prediction
from dask_em.engine.query import Query
from dask_em.engine.source import Source
from dask_em.engine.stream import Reading

__all__ = ["prediction_of"]


def prediction_of(estimator: Any, source: Source, kinds: Sequence[type[Query]]) -> Prediction:
    """Queries of some kinds to a fitted estimator, with its policies on bad rows and chunks."""
    parameters, schema = estimator._parameters, source.schema
    queries = tuple(kind(parameters.k, schema.dtype) for kind in kinds)
    reading = Reading(schema, Missing(estimator.missing), estimator.on_bad_chunk)
    return Prediction(estimator._model, parameters, queries, reading)
