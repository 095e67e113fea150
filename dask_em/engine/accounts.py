"""What a pass cost, as its record."""

from __future__ import annotations

from dask_em.engine.monitor import PassRecord
from dask_em.engine.stream import Tally

__all__ = ["record_of"]


def record_of(kind: str, iteration: int, tally: Tally, seconds: float, n_tasks: int) -> PassRecord:
    """The record of a pass of so many seconds and tasks; what came of it, the caller adds."""
    return PassRecord(
        kind=kind,
        iteration=iteration,
        objective=None,
        gain=None,
        seconds=seconds,
        read_seconds=tally.read_seconds,
        compute_seconds=tally.compute_seconds,
        rows=tally.rows,
        dropped=tally.dropped,
        incomplete=tally.incomplete,
        empty=tally.empty,
        nbytes=tally.nbytes,
        cached_bytes=tally.cached_bytes,
        bad_chunks=tally.bad_chunks,
        n_tasks=n_tasks,
        kernel=None,
    )
