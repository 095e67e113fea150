"""What can be read of a chunk, and where the whole of it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from dask_em.engine.ahead import ahead, at_once
from dask_em.engine.source import Chunk, Partition, Reader, Region
from dask_em.engine.stream import Reading, Tally, reads_at_once, resident
from dask_em.errors import ChunkError

__all__ = ["Readable", "readable", "readable_ahead"]


@dataclass(frozen=True)
class Readable:
    """A chunk as far as it can be read."""

    index: int  # of the chunk
    region: Region | None  # of the whole chunk; None where it is not known
    chunks: list[Chunk]  # the chunk itself, or the parts of it that can be read
    bad_chunks: int  # the parts that cannot

    @property
    def tally(self) -> Tally:
        """What was read and what was skipped."""
        return Tally(
            rows=sum(len(chunk.block) for chunk in self.chunks),
            nbytes=sum(chunk.block.nbytes for chunk in self.chunks),
            bad_chunks=self.bad_chunks,
        )


def readable(leaf: Partition, reader: Reader, index: int, reading: Reading) -> Readable:
    """Read a chunk, as far as that is possible where bad chunks are skipped.

    Raises
    ------
    ChunkError
        If it cannot be read and bad chunks are not skipped, or its answers have a place and nothing
        tells where.
    """
    try:
        chunk = reader(index)
    except ChunkError:
        region = reading.schema.region(index)
        placed = reading.schema.sample_shape is not None
        if reading.on_bad_chunk == "raise" or (placed and region is None):
            raise
        return Readable(index, region, *leaf.salvage(index))
    return Readable(index, chunk.region, [chunk], 0)


def readable_ahead(leaves: Sequence[Partition], reading: Reading) -> Iterator[Readable]:
    """The chunks of leaves in order, the next being read while the caller works on one."""

    def calls() -> Iterator[Callable[[], Readable]]:
        for leaf in leaves:
            if leaf.chunks:
                reader = leaf.open()
                for index in leaf.chunks:
                    yield partial(readable, leaf, reader, index, reading)

    found = at_once(calls(), reads_at_once(leaves))
    return found if resident(leaves) else ahead(found)
