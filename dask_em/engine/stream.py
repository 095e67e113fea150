"""Blocks of a task's leaves, one at a time: the next is read while the current one is computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from dask_em.core.block import Block, Missing
from dask_em.core.records import Additive, Array
from dask_em.engine.ahead import ahead, at_once
from dask_em.engine.cache import Cache
from dask_em.engine.reduce import Addable, fold
from dask_em.engine.source import Chunk, Partition, Reader, Schema
from dask_em.errors import ChunkError, InputError

__all__ = ["Piece", "Reading", "Tally", "fold_leaves", "reads_at_once", "resident", "stream"]

T = TypeVar("T", bound=Addable)

#: small chunks are gathered until a block has this many bytes
BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class Reading:
    """How chunks become blocks.

    Parameters
    ----------
    missing : Missing or None
        What happens to rows with NaN; None where they are known to have none.
    on_bad_chunk : {"raise", "skip"}
        What happens when a chunk cannot be read. A store that does not answer, or denies access,
        is an error whichever it is: it says nothing of its chunks.
    schema : Schema
        Of the source.
    with_positions : bool
        Whether each block comes with the positions of its rows.
    cache : Cache or None
        Where chunks are kept as they were read, so whatever the other fields say.
    """

    schema: Schema
    missing: Missing | None = field(default_factory=Missing)
    on_bad_chunk: str = "raise"
    with_positions: bool = False
    cache: Cache | None = None

    @property
    def with_gaps(self) -> bool:
        """Whether rows may come with gaps."""
        return self.missing is not None and self.missing.policy == "model"

    def __post_init__(self) -> None:
        if self.on_bad_chunk not in ("raise", "skip"):
            raise InputError(f'on_bad_chunk={self.on_bad_chunk!r}; it is "raise" or "skip"')


@dataclass(frozen=True)
class Tally(Additive):
    """What reading cost, summed over blocks, partitions and passes."""

    rows: int = 0  # rows that entered
    dropped: int = 0  # rows that the policy on missing values left out
    incomplete: int = 0  # rows that entered though something of them is not observed
    empty: int = 0  # and those of which nothing is
    nbytes: int = 0  # bytes that were read and decoded
    cached_bytes: int = 0  # bytes that were in the cache
    bad_chunks: int = 0  # chunks that were skipped
    read_seconds: float = 0.0  # summed over tasks
    compute_seconds: float = 0.0  # summed over tasks

    @property
    def block_bytes(self) -> int:
        """Bytes of the rows, wherever they came from."""
        return self.nbytes + self.cached_bytes


@dataclass(frozen=True)
class Piece:
    """A block, where it came from, and what it cost."""

    block: Block
    name: str  # of its first chunk
    positions: Array | None  # (n,) int64
    tally: Tally


def fold_leaves(
    leaves: Sequence[Partition],
    reading: Reading,
    part: Callable[[Piece], T],
    stopped: Callable[[], bool],
) -> T | None:
    """The merged parts of all pieces of a task's leaves; None if they are empty.

    Within a leaf parts are added in order, and leaves are merged by `fold`.

    Raises
    ------
    ChunkError, DataError
        As the policies on bad chunks and missing values say.
    InterruptedError
        When `stopped` says so.
    """

    def totals() -> Iterator[T | None]:
        done, total = 0, None
        for leaf, piece in stream(leaves, reading):
            if stopped():
                raise InterruptedError("the pass was stopped")
            while done < leaf:
                yield total
                done, total = done + 1, None
            found = part(piece)
            total = found if total is None else total + found
        while done < len(leaves):
            yield total
            done, total = done + 1, None

    return fold(totals())


def stream(
    leaves: Sequence[Partition], reading: Reading
) -> Generator[tuple[int, Piece], None, None]:
    """The rows of leaves in order, each piece with the number of its leaf."""
    # nothing but pieces may come here: one item is read ahead, whatever it is
    pieces = _gather(_chunks(leaves, reading))
    return pieces if resident(leaves) else ahead(pieces)


def resident(leaves: Sequence[Partition]) -> bool:
    """Whether reading is free, so that nothing is gained by a second thread."""
    return all(leaf.resident for leaf in leaves)


def reads_at_once(leaves: Sequence[Partition]) -> int:
    """How many chunks of a task's leaves are read at a time."""
    return max((leaf.reads_at_once for leaf in leaves), default=1)


def _chunks(
    leaves: Sequence[Partition], reading: Reading
) -> Generator[tuple[int, Piece], None, None]:
    """The pieces of each chunk, with the number of its leaf; several chunks are read at a time."""

    def calls() -> Iterator[Callable[[], _Read]]:
        for number, leaf in enumerate(leaves):
            if leaf.chunks:
                reader = leaf.open()
                for index in leaf.chunks:
                    yield partial(_read, number, leaf, reader, index, reading)

    until = 0.0
    with closing(at_once(calls(), reads_at_once(leaves))) as reads:
        for read in reads:
            # of reads side by side each counts what it takes longer than those before
            share = min(1.0, max(0.0, read.end - until) / max(read.end - read.begin, 1e-9))
            until = max(until, read.end)
            for piece in read.pieces:
                yield read.leaf, piece if share == 1 else _shared(piece, share)


@dataclass(frozen=True)
class _Read:
    """What reading one chunk gave, and when."""

    leaf: int
    pieces: list[Piece]
    begin: float
    end: float


def _shared(piece: Piece, share: float) -> Piece:
    seconds = share * piece.tally.read_seconds
    return replace(piece, tally=replace(piece.tally, read_seconds=seconds))


def _read(leaf_number: int, leaf: Partition, reader: Reader, index: int, reading: Reading) -> _Read:
    begin = time.perf_counter()
    pieces = list(_read_pieces(leaf, reader, index, reading))
    return _Read(leaf_number, pieces, begin, time.perf_counter())


def _read_pieces(leaf: Partition, reader: Reader, index: int, reading: Reading) -> Iterator[Piece]:
    begin = time.perf_counter()
    cache = None if leaf.resident else reading.cache
    kept = None if cache is None else cache.find(index)
    if kept is not None:
        yield _piece(kept, reading, begin, cached=True)
        return
    try:
        chunks, bad = [_fresh(reader(index), cache)], 0
    except ChunkError:
        if reading.on_bad_chunk == "raise":
            raise
        chunks, bad = leaf.salvage(index)
    for chunk in chunks:
        yield _piece(chunk, reading, begin)
        begin = time.perf_counter()
    if bad:
        nothing = Block(np.empty((0, reading.schema.n_features), reading.schema.dtype))
        seconds = time.perf_counter() - begin
        yield Piece(nothing, "", None, Tally(bad_chunks=bad, read_seconds=seconds))


def _fresh(chunk: Chunk, cache: Cache | None) -> Chunk:
    if cache is not None:
        cache.keep(chunk)
    return chunk


def _piece(chunk: Chunk, reading: Reading, begin: float, cached: bool = False) -> Piece:
    whole, names = chunk.block, reading.schema.feature_names
    shape = reading.schema.sample_shape
    positions = chunk.positions(shape) if reading.with_positions else None
    present = _present(chunk)
    if present is not None and not present.all():
        whole = whole.take(present)
        positions = None if positions is None else positions[present]
    block = whole if reading.missing is None else reading.missing.apply(whole, chunk.name, names)
    if positions is not None and len(block) < len(whole):
        positions = positions[whole.observed()]
    incomplete, empty = block.gaps() if reading.with_gaps else (0, 0)
    tally = Tally(
        rows=len(block),
        dropped=len(whole) - len(block),
        incomplete=incomplete,
        empty=empty,
        nbytes=0 if cached else chunk.block.nbytes,
        cached_bytes=chunk.block.nbytes if cached else 0,
        read_seconds=time.perf_counter() - begin,
    )
    return Piece(block, chunk.name, positions, tally)


def _present(chunk: Chunk) -> Array | None:
    """(n,) which rows are there; None for all."""
    weights = chunk.block.weights
    if weights is None or weights.all():
        return chunk.kept
    weighed = np.asarray(weights > 0)  # a weight of 0 leaves the row out, whatever it holds
    return weighed if chunk.kept is None else weighed & chunk.kept


def _gather(
    pieces: Generator[tuple[int, Piece], None, None],
) -> Generator[tuple[int, Piece], None, None]:
    """Join neighbours in a leaf until they are a block of some size: each costs a fixed time."""
    held: list[Piece] = []
    leaf = size = 0
    with closing(pieces):
        for number, piece in pieces:
            if held and (number != leaf or size + piece.tally.block_bytes > BLOCK_BYTES):
                yield leaf, _joined(held)
                held, size = [], 0
            held.append(piece)
            leaf, size = number, size + piece.tally.block_bytes
            if size >= BLOCK_BYTES:
                yield leaf, _joined(held)
                held, size = [], 0
        if held:
            yield leaf, _joined(held)


def _joined(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    full = [piece for piece in pieces if len(piece.block)] or pieces[:1]
    positions = [piece.positions for piece in full if piece.positions is not None]
    tally = pieces[0].tally
    for piece in pieces[1:]:
        tally = tally + piece.tally
    return Piece(
        Block.concatenate([piece.block for piece in full]),
        full[0].name,
        np.concatenate(positions) if positions else None,
        tally,
    )
