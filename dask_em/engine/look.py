"""A look at a few rows, without a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from dask_em.core.block import Block
from dask_em.engine.monitor import Monitor
from dask_em.engine.runner import Runner
from dask_em.engine.source import Partition, Source
from dask_em.engine.stream import Reading, stream

__all__ = ["GLIMPSED", "GLIMPSED_ROWS", "Looked", "Looking", "glimpse", "look"]

#: chunks that a glimpse reads, unless they are more than this share of all
GLIMPSED, SHARE = 4, 1 / 32
#: rows that it takes of each
GLIMPSED_ROWS = 4096


@dataclass(frozen=True)
class Looked:
    """Rows for a start; two of them merge."""

    rows: Block

    def __add__(self, other: Looked) -> Looked:
        return Looked(Block.concatenate([self.rows, other.rows]))


@dataclass(frozen=True)
class Looking:
    """What the tasks that look for rows share."""

    reading: Reading
    n_rows: int  # of one task


def look(
    leaves: Sequence[Partition], looking: Looking, stopped: Callable[[], bool]
) -> Looked | None:
    """Rows of the first block of some leaves that has any."""
    if not leaves:
        return None
    with closing(stream(leaves, looking.reading)) as pieces:
        for _, piece in pieces:
            if stopped():
                raise InterruptedError("the look was stopped")
            if len(piece.block):
                step = -(-len(piece.block) // looking.n_rows)
                return Looked(piece.block.take(np.arange(0, len(piece.block), step)))
    return None


class _Asked(Monitor):
    """Asks another one while a cluster works, and tells it nothing: a look is no pass."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def waiting(self) -> None:
        self._monitor.waiting()


def glimpse(source: Source, runner: Runner, reading: Reading, monitor: Monitor) -> Block | None:
    """Rows of a few chunks, the same ones wherever the work is done; None if these have no row."""
    n_chunks = source.schema.n_chunks
    wanted = GLIMPSED
    while wanted > 1 and wanted > SHARE * n_chunks:
        wanted //= 2
    # in the middle of equal shares
    places = [(2 * i + 1) * n_chunks // (2 * wanted) for i in range(wanted)]
    items = [[source.partition(range(place, place + 1))] for place in places]
    # chunks are kept leaf by leaf, of which these are parts
    looking = Looking(replace(reading, cache=None), GLIMPSED_ROWS)
    looked = runner.reduce("em-look", look, items, looking, _Asked(monitor))
    return looked.rows if isinstance(looked, Looked) else None
