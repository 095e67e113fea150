"""Reports: what a driver tells of the passes that it makes."""

from __future__ import annotations

import time
from typing import Any

from dask_em.engine.monitor import PassRecord
from dask_em.service.view import PassView

__all__ = ["doing", "passed", "weights_of"]

#: what a pass of some kind is called while it goes on
DOING = {"first": "first look", "moments": "moments", "predict": "writing"}
#: of more components the weights are not shown
MOST_WEIGHTS = 256


def doing(kind: str, iteration: int) -> str:
    """What is being done, in a word or two."""
    return DOING.get(kind, f"pass {iteration + 1}")


def passed(number: int, record: PassRecord, n_threads: int) -> PassView:
    """A pass as anybody sees it.

    Parameters
    ----------
    number : int
        Of the pass, counted from 1 over all that the job has read.
    record : PassRecord
    n_threads : int
        That worked on it.
    """
    threads = max(1, min(n_threads, record.n_tasks))
    skipped = f"{record.bad_chunks} unreadable chunks skipped"
    notes = [repair.words for repair in record.repairs]
    return PassView(
        number=number,
        kind=record.kind,
        ended=time.time(),
        objective=record.objective,
        gain=record.gain,
        gap=record.gap,
        seconds=record.seconds,
        read_seconds=record.read_seconds / threads,
        compute_seconds=record.compute_seconds / threads,
        between_seconds=record.between_seconds,
        rows=record.rows,
        nbytes=record.nbytes,
        step=record.step,
        notes=(*notes, *([skipped] if record.bad_chunks else [])),
    )


def weights_of(parameters: Any) -> list[float]:
    """The weights of the components, where there are some and not too many."""
    weights = getattr(parameters, "weights", None)
    if weights is None or len(weights) > MOST_WEIGHTS:
        return []
    return [float(weight) for weight in weights]
