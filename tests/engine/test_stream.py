from __future__ import annotations

from dataclasses import dataclass
from threading import Event

import numpy as np
import pytest

from dask_em import ChunkError
from dask_em.core.block import Block
from dask_em.engine.source import Chunk, Partition
from dask_em.engine.stream import BLOCK_BYTES, Reading, Tally, fold_leaves, stream
from tests.engine.sources import MadeSource, Script

READS = [Event() for _ in range(9)]


@dataclass(frozen=True)
class Announced(Partition):
    """Says which chunk is being read; each chunk is a block of its own."""

    def open(self):
        def read(index):
            READS[index].set()
            values = np.zeros((BLOCK_BYTES // 8, 1))
            return Chunk(index, f"chunk {index}", Block(values), None)

        return read


def test_the_next_block_is_read_while_one_is_computed_also_across_leaves():
    for event in READS:
        event.clear()
    leaves = [
        Announced(range(2)),
        Announced(range(2, 2)),
        Announced(range(2, 8)),
        Announced(range(8, 8)),
    ]
    source = MadeSource(np.zeros((8, 1)), 1)
    seen = []

    def compute(piece):
        index = len(seen)
        seen.append(piece.name)
        assert index == 7 or READS[index + 1].wait(timeout=10), "reading waits for computing"
        return 1

    assert fold_leaves(leaves, Reading(source.schema), compute, lambda: False) == 8
    assert seen == [f"chunk {index}" for index in range(8)]


def test_no_more_than_one_block_is_read_ahead():
    for event in READS:
        event.clear()
    pieces = stream([Announced(range(8))], Reading(MadeSource(np.zeros((8, 1)), 1).schema))
    next(pieces)
    assert READS[1].wait(timeout=10)
    assert not READS[2].wait(timeout=0.1)
    pieces.close()


def test_small_chunks_are_gathered_and_large_ones_are_not():
    rows = np.arange(10_000.0)[:, None]
    small = MadeSource(rows, 7)
    leaf = small.partition(range(small.schema.n_chunks))
    ((number, piece),) = stream([leaf], Reading(small.schema))
    assert number == 0
    np.testing.assert_array_equal(piece.block.values, rows)
    assert piece.tally.rows == 10_000
    large = [piece for _, piece in stream([Announced(range(3))], Reading(small.schema))]
    assert len(large) == 3


def test_empty_leaves_are_empty_parts_of_the_tree():
    source = MadeSource(np.arange(6.0)[:, None], 1)
    runs = [range(0), range(1), range(1, 1), range(1, 6)]
    leaves = [source.partition(run) for run in runs]
    total = fold_leaves(
        leaves, Reading(source.schema), lambda piece: piece.block.values.sum(), lambda: False
    )
    assert total == 15
    nothing = [source.partition(range(0)) for _ in range(4)]
    assert fold_leaves(nothing, Reading(source.schema), lambda piece: 1, lambda: False) is None


def test_a_pass_that_is_stopped_ends_at_the_next_block():
    source = MadeSource(np.arange(6.0)[:, None], 1)
    with pytest.raises(InterruptedError):
        fold_leaves(
            [source.partition(range(6))], Reading(source.schema), lambda piece: 1, lambda: True
        )


def test_an_error_in_the_reading_thread_arrives():
    source = MadeSource(np.arange(6.0)[:, None], 1, script=Script(4, "fail"))
    with pytest.raises(ChunkError, match="chunk 4"):
        list(stream([source.partition(range(6))], Reading(source.schema)))
    skipped = list(
        stream([source.partition(range(6))], Reading(source.schema, on_bad_chunk="skip"))
    )
    total = sum((piece.tally for _, piece in skipped), Tally())
    assert total.bad_chunks == 1
    assert total.rows == 5
