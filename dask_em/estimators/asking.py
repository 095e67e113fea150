"""What a fitted estimator is asked, as the engine answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dask_em.engine.fit import Score, score
from dask_em.engine.gaps import missing_of
from dask_em.engine.predict import Prediction, lazily, now
from dask_em.engine.query import Query
from dask_em.engine.source import Source
from dask_em.engine.stream import Reading
from dask_em.estimators.mapping import recalled
from dask_em.estimators.skipped import UNANSWERED, UNSCORED, warn_of_skipped
from dask_em.models.criteria import Criteria

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["answer", "criteria_of", "prediction_of", "score_of"]


def prediction_of(
    estimator: Any, source: Source, kinds: Sequence[type[Query]], missing: str | None = None
) -> Prediction:
    """Queries of some kinds to a fitted estimator, with its policies on bad rows and chunks.

    Parameters
    ----------
    missing : str, optional
        Another policy on NaN than the estimator's.
    """
    model, parameters, schema = estimator._model, estimator._parameters, source.schema
    made = (kind.of(parameters, schema.dtype) for kind in kinds)
    n_features = int(estimator.n_features_in_)
    queries = tuple(
        one if one.of_features is None else replace(one, size=n_features) for one in made
    )
    policy = missing_of(missing or estimator.missing, model)
    return Prediction(model, parameters, queries, Reading(schema, policy, estimator.on_bad_chunk))


def answer(estimator: Any, source: Source, kind: type[Query], missing: str | None = None) -> Any:
    """One answer for each row, of rows in memory at once, otherwise lazily."""
    source = recalled(source, (kind,))
    prediction = prediction_of(estimator, source, (kind,), missing)
    (query,) = prediction.queries
    contained = source.answered(prediction)
    if contained is not None:
        return contained
    if not source.local or source.schema.sample_shape is None:
        return source.labelled(lazily(source, prediction), query)
    answers, tally = now(source, prediction)
    warn_of_skipped(tally.bad_chunks, UNANSWERED, "predict")
    return source.labelled(answers, query)


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
