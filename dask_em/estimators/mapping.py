"""What a fit does to rows before the model sees them, and what a fitted model does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dask_em.core.records import Array
from dask_em.engine.fit import Fitted
from dask_em.engine.moments import moments
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.query import Query
from dask_em.engine.source import Source
from dask_em.estimators.names import features_in
from dask_em.mapping.chain import Chain
from dask_em.mapping.features import Features
from dask_em.mapping.step import MappingStep
from dask_em.sources.mapped import MappedSource, features_of

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.place import URL, Place

__all__ = [
    "Prepared",
    "fitted_features",
    "mapped_for",
    "planned",
    "prepare",
    "recalled",
    "unmapped",
]

P = TypeVar("P", bound=Any)


@dataclass(frozen=True)
class Prepared:
    """Rows as the model sees them."""

    source: Source
    mapping: Chain | None  # that is kept with the model; None where nothing is done
    history: tuple[PassRecord, ...] = ()  # of the passes that told the mapping of the data

    def completed(self, fitted: Fitted[P]) -> Fitted[P]:
        """A fit to these rows, with these passes."""
        return replace(fitted, history=(*self.history, *fitted.history), mapping=self.mapping)


def prepare(
    source: Source,
    given: Any,
    *,
    client: Client | None = None,
    missing: str = "error",
    on_bad_chunk: str = "raise",
    monitor: Monitor | None = None,
    checkpoint: URL | Place | None = None,
) -> Prepared:
    """Learn what steps have to know of the data, a pass for each that does, and map the rows.

    Parameters
    ----------
    given : sequence of steps, or one
    client, missing, on_bad_chunk, monitor
        As in `dask_em.engine.fit.fit`.
    checkpoint : str, path or Place, optional
        That of the fit to follow, which keeps what the passes find: they are not made again.
    """
    chain = Chain.of(given)
    if not chain:
        return Prepared(source, None)
    history: list[PassRecord] = []
    kept = None
    if checkpoint is not None and chain.needs_moments:
        from dask_em.engine.checkpoint import Checkpoint  # it brings Zarr along

        kept = Checkpoint.open(checkpoint)

    def learned(step: MappingStep, features: Features, before: Chain) -> MappingStep:
        seen = MappedSource(source, before) if before else source
        found, record = moments(
            seen,
            client=client,
            missing=missing,
            on_bad_chunk=on_bad_chunk,
            monitor=monitor,
            checkpoint=kept,
            number=len(history),
        )
        history.append(record)
        return step.fitted(features, found)

    whole = _learned(source, chain, learned)
    return Prepared(MappedSource(source, whole), whole.of_model, tuple(history))


def planned(source: Source, given: Any) -> tuple[Source, int]:
    """Rows mapped as far as that costs no pass, and how many passes it would cost.

    The numbers that would be learned are made up: they take as long.
    """
    chain = Chain.of(given)
    if not chain:
        return source, 0
    whole = _learned(source, chain, lambda step, features, _: step.assumed(features))
    return MappedSource(source, whole), sum(step.needs_moments for step in chain)


def _learned(
    source: Source, chain: Chain, learn: Callable[[MappingStep, Features, Chain], MappingStep]
) -> Chain:
    """Steps for the features of a source; `learn` is given one, its features and those before."""
    features, done = features_of(source.schema), list[MappingStep]()
    for asked in chain:
        step = asked.bound(features)
        if step.needs_moments:
            step = learn(step, features, Chain(tuple(done)))
        done.append(step)
        features = step.after(features)
    return Chain(tuple(done))


def mapped_for(estimator: Any, source: Source, given: Any) -> Source:
    """Rows as a fitted estimator sees them.

    Parameters
    ----------
    given : sequence of steps
        Those that belong to the rows: `RowMask` and `Groups`.
    """
    kept: Chain = getattr(estimator, "mapping_", None) or Chain()
    chain = kept.for_rows(Chain.of(given))
    return MappedSource(source, chain, features_in(estimator)) if chain else source


def recalled(source: Source, kinds: Iterable[type[Query]]) -> Source:
    """The source, with what is stored beside mapped rows where answers to a query need it."""
    wanted = any(kind.of_features in ("filled", "deviations") for kind in kinds)
    return source.recalling() if wanted and isinstance(source, MappedSource) else source


def fitted_features(estimator: Any) -> Features:
    """The features that the model of a fitted estimator sees."""
    kept: Chain = getattr(estimator, "mapping_", None) or Chain()
    return kept.after(features_in(estimator))


def unmapped(estimator: Any, rows: Any) -> Any:
    """Mapped rows (..., d), of no known place, in units of the data; NaN for lost features."""
    kept: Chain = getattr(estimator, "mapping_", None) or Chain()
    if not kept:
        return rows
    n = int(estimator.n_features_in_)

    def undone(part: Array) -> Array:
        flat = np.asarray(part).reshape(-1, part.shape[-1])
        return kept.undo(flat, n).reshape(*part.shape[:-1], n)

    if hasattr(rows, "dask"):
        kept.undo(np.zeros((1, rows.shape[-1])), n)  # refused now, not when it is computed
        rows = rows.rechunk({-1: -1})
        return rows.map_blocks(undone, dtype=rows.dtype, chunks=(*rows.chunks[:-1], (n,)))
    return undone(rows)
