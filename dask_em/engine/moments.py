"""A pass for the mean and the variance of each feature."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_em.core.block import Missing
from dask_em.core.moments import FeatureMoments
from dask_em.engine.accounts import record_of
from dask_em.engine.fingerprint import Watch
from dask_em.engine.limits import one_blas_thread
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.plan import Plan
from dask_em.engine.runner import choose_runner
from dask_em.engine.source import Partition, Source
from dask_em.engine.specification import pass_specification
from dask_em.engine.stream import Piece, Reading, Tally, fold_leaves
from dask_em.errors import DataError

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.engine.checkpoint import Checkpoint

__all__ = ["moments"]


@dataclass(frozen=True)
class _Summed:
    """Moments and what they cost; two of them merge."""

    moments: FeatureMoments
    tally: Tally

    def __add__(self, other: _Summed) -> _Summed:
        return _Summed(self.moments + other.moments, self.tally + other.tally)


def moments(
    source: Source,
    *,
    client: Client | None = None,
    missing: str = "error",
    on_bad_chunk: str = "raise",
    monitor: Monitor | None = None,
    checkpoint: Checkpoint | None = None,
    number: int = 0,
) -> tuple[FeatureMoments, PassRecord]:
    """The moments of all rows that would enter a fit, and the record of the pass.

    They do not depend on tasks or workers, to the bit. Parameters and errors are those of `fit`.

    Parameters
    ----------
    checkpoint : Checkpoint, optional
        Of the fit: what the pass finds is kept there, and where it is there no pass is made.
    number : int
        Of the pass, among those before the fit.
    """
    monitor = monitor or Monitor()
    if checkpoint is None:
        found, record = _pass(source, client, missing, on_bad_chunk, monitor)
    else:
        options = {"missing": missing, "on_bad_chunk": on_bad_chunk}
        wanted = pass_specification(source.fingerprint(), options)
        kept = checkpoint.moments(number, wanted)
        if kept is None:
            made = _pass(source, client, missing, on_bad_chunk, monitor)
            kept = checkpoint.keep_moments(number, *made, wanted)
        found, record = kept.moments, kept.record
    monitor.end(record)
    return found, record


def _pass(
    source: Source, client: Client | None, missing: str, on_bad_chunk: str, monitor: Monitor
) -> tuple[FeatureMoments, PassRecord]:
    runner = choose_runner(source, client)
    plan, watch = Plan.make(source, runner.resources), Watch(source)
    reading = Reading(source.schema, Missing(missing, modelled=True), on_bad_chunk)
    monitor.begin("moments", 0, plan.n_tasks)
    begin = time.perf_counter()
    with one_blas_thread():
        found = runner.reduce("em-moments", _sum_leaves, plan.partitions(source), reading, monitor)
    watch.check()
    if not isinstance(found, _Summed) or not found.moments.mass.any():
        raise DataError(
            f"{source.schema.describe} has no row that could tell means and deviations: none is of "
            "positive weight and observed; mend or select the data"
        )
    seconds = time.perf_counter() - begin
    return found.moments, record_of("moments", 0, found.tally, seconds, plan.n_tasks)


def _sum_leaves(
    leaves: Sequence[Partition], reading: Reading, stopped: Callable[[], bool]
) -> _Summed | None:
    return fold_leaves(leaves, reading, _sum, stopped)


def _sum(piece: Piece) -> _Summed:
    begin = time.perf_counter()
    found = FeatureMoments.of(piece.block)
    return _Summed(found, piece.tally + Tally(compute_seconds=time.perf_counter() - begin))
