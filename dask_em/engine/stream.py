"""Blocks of a task's leaves, one at a time: the next is read while the current one is computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from dask_em.core.block import Block, Missing
from dask_em.core.records import Additive, Array
from dask_em.engine.cache import Cache
from dask_em.engine.reduce import Addable, fold
from dask_em.engine.source import Chunk, Partition, Reader, Schema
from dask_em.errors import ChunkError, InputError

__all__ = ["Piece", "Reading", "Tally", "ahead", "fold_leaves", "resident", "stream"]

Item = TypeVar("Item")
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
        What happens when a chunk cannot be read.
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

    def pieces() -> Generator[tuple[int, Piece], None, None]:
        # nothing but pieces may come here: one item is read ahead, whatever it is
        for number, leaf in enumerate(leaves):
            for piece in _gather(_chunks(leaf, reading)):
                yield number, piece

    return pieces() if resident(leaves) else ahead(pieces())


def resident(leaves: Sequence[Partition]) -> bool:
    """Whether reading is free, so that nothing is gained by a second thread."""
    return all(leaf.resident for leaf in leaves)


def _chunks(leaf: Partition, reading: Reading) -> Iterator[Piece]:
    if leaf.chunks:
        reader = leaf.open()
        for index in leaf.chunks:
            yield from _read(leaf, reader, index, reading)


def _read(leaf: Partition, reader: Reader, index: int, reading: Reading) -> Iterator[Piece]:
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


def _gather(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Join neighbours until they make a block of some size: each block costs some fixed time."""
    held: list[Piece] = []
    size = 0
    for piece in pieces:
        if held and size + piece.tally.block_bytes > BLOCK_BYTES:
            yield _joined(held)
            held, size = [], 0
        held.append(piece)
        size += piece.tally.block_bytes
        if size >= BLOCK_BYTES:
            yield _joined(held)
            held, size = [], 0
    if held:
        yield _joined(held)


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


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Make each item in a second thread while the caller works on the one before."""
    end = object()
    # Dask tells a task's thread by a context variable which worker it belongs to
    run: Callable[..., object] = copy_context().run
    with ThreadPoolExecutor(1, thread_name_prefix="em-read") as reader:
        coming = reader.submit(run, next, items, end)
        while (item := coming.result()) is not end:
            coming = reader.submit(run, next, items, end)
            yield item  # type: ignore[misc]
            del item
