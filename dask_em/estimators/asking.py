"""What a fitted estimator is asked, as the engine answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dask_em.core.block import Missing
from dask_em.engine.fit import Score, score
from dask_em.engine.predict import Prediction, lazily, now
from dask_em.engine.query import Query
from dask_em.engine.source import Source
from dask_em.engine.stream import Reading
from dask_em.estimators.skipped import UNANSWERED, UNSCORED, warn_of_skipped
from dask_em.models.criteria import Criteria

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["answer", "criteria_of", "prediction_of", "score_of"]


def prediction_of(estimator: Any, source: Source, kinds: Sequence[type[Query]]) -> Prediction:
    """Queries of some kinds to a fitted estimator, with its policies on bad rows and chunks."""
    parameters, schema = estimator._parameters, source.schema
    queries = tuple(kind(parameters.k, schema.dtype) for kind in kinds)
    reading = Reading(schema, Missing(estimator.missing), estimator.on_bad_chunk)
    return Prediction(estimator._model, parameters, queries, reading)


def answer(estimator: Any, source: Source, kind: type[Query]) -> Any:
    """One answer for each row, of rows in memory at once, otherwise as a dask array."""
    prediction = prediction_of(estimator, source, (kind,))
    if not source.local:
        return lazily(source, prediction)
    answers, tally = now(source, prediction)
    warn_of_skipped(tally.bad_chunks, UNANSWERED, "predict")
    return answers


def score_of(estimator: Any, source: Source, client: Client | None = None) -> Score:
    """How well a fitted estimator explains rows. One pass."""
    found = score(
        estimator._model,
        source,
        estimator._parameters,
        client=client,
        missing=estimator.missing,
        on_bad_chunk=estimator.on_bad_chunk,
    )
    warn_of_skipped(found.record.bad_chunks, UNSCORED, "score")
    return found


def criteria_of(estimator: Any, found: Score) -> Criteria:
    """The criteria of a fitted estimator, of which the score of rows is known."""
    log_likelihood = found.log_likelihood * found.mass
    return Criteria(log_likelihood, found.mass, estimator._n_parameters())
