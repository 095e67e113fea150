"""Reading spans of Parquet files: batch by batch into rows, in any order, in few steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.source import Chunk, Partition, Reader, Region
from dask_em.errors import ChunkError, SourceError
from dask_em.sources.parquet.columns import values_of
from dask_em.sources.parquet.files import File
from dask_em.sources.parquet.filter import mask_of
from dask_em.sources.parquet.layout import Span
from dask_em.sources.parquet.store import FileStore
from dask_em.sources.rows import as_weights
from dask_em.sources.where import Condition

__all__ = ["ParquetPartition", "TableReader"]

#: rows that are decoded at a time, and of which columns become rows: they fit into a fast cache
BATCH_ROWS = 1 << 16
TILE_ROWS = 1 << 12
#: bytes of a stored column that are read at a time
BUFFER_BYTES = 1 << 20


@final
@dataclass(frozen=True)
class TableReader:
    """Reads columns of spans; small and picklable.

    Parameters
    ----------
    files : mapping
        The files of some spans by their number.
    store : FileStore
    columns : tuple of str
        What is read.
    condition : Condition, or None
        Which rows are kept.
    also : tuple of str
        Columns of the condition that are not wanted themselves.
    partitions : pyarrow schema
        Of the columns that stand in the names of folders.
    """

    files: Mapping[int, File]
    store: FileStore
    columns: tuple[str, ...]
    condition: Condition | None
    also: tuple[str, ...]
    partitions: pa.Schema

    def batches(self, span: Span) -> Iterator[pa.RecordBatch]:
        """The wanted columns of a span, in pieces of a few rows.

        Raises
        ------
        ChunkError
            Which names the file and its row groups.
        """
        file = self.files[span.file]
        try:
            for batch in self._read(file, span):
                yield from self._kept(batch, file)
        except (MemoryError, SourceError):
            # a store that does not answer says so itself, and nothing of the file
            _forget()
            raise
        except Exception as error:
            # whatever a codec or a file system raises: there is no common class
            _forget()
            verb = "decoded" if isinstance(error, pa.ArrowException) else "read"
            raise ChunkError(
                f"{self.name_of(span)} cannot be {verb} ({type(error).__name__}: {error}); "
                'repair the file or pass on_bad_chunk="skip"'
            ) from error

    def name_of(self, span: Span) -> str:
        """A span in the words of an error message."""
        file = self.store.shown(self.files[span.file].path)
        if not span.groups:
            return file
        first, last = span.groups[0], span.groups[-1]
        if span.stop is not None:
            return f"rows {span.start}:{span.stop} of row group {first} of {file}"
        groups = f"row group {first}" if first == last else f"row groups {first} to {last}"
        return f"{groups} of {file}"

    def _read(self, file: File, span: Span) -> Iterator[pa.RecordBatch]:
        if span.fault:
            raise OSError(span.fault)
        if not span.n_rows:
            return
        inside = [
            name
            for name in dict.fromkeys((*self.columns, *self.also))
            if name not in self.partitions.names
        ]
        seen = 0
        for batch in _stream(self.store, file, span, tuple(inside)):
            seen += batch.num_rows
            yield self._with_folders(batch, file)
        if seen != span.n_rows:
            raise OSError(f"it holds {seen} rows where its footer promises {span.n_rows}")

    def _with_folders(self, batch: pa.RecordBatch, file: File) -> pa.RecordBatch:
        """A batch with the columns that stand in the names of folders."""
        for name, value in file.values:
            if name in self.columns or name in self.also:
                field = self.partitions.field(name)
                repeated = pa.repeat(pa.scalar(value, field.type), batch.num_rows)
                batch = batch.append_column(field, repeated)
        return batch

    def _kept(self, batch: pa.RecordBatch, file: File) -> Iterator[pa.RecordBatch]:
        if self.condition is None:
            yield batch
            return
        # not by an expression: that runs in threads of its own, and keeps what it took
        mask = mask_of(self.condition, batch)
        yield batch.select(self.columns).filter(mask)


@final
@dataclass(frozen=True, eq=False)
class ParquetPartition(Partition):
    """A run of spans."""

    reader: TableReader
    spans: tuple[Span, ...]
    starts: tuple[int, ...] | None  # the position of each span's first row, where it is known
    features: tuple[str, ...]
    weights: str | tuple[Array, ...] | None  # a column, or in memory for each span
    dtype: np.dtype[Any]

    def open(self) -> Reader:
        return self._read

    def _read(self, index: int) -> Chunk:
        place = self.chunks.index(index)
        return self._chunk(index, self.spans[place], 0)

    def _chunk(self, index: int, span: Span, skipped: int) -> Chunk:
        place = self.chunks.index(index)
        name = self.reader.name_of(span)
        rows, weights = self._rows(span)
        if isinstance(self.weights, tuple):
            weights = self.weights[place][skipped : skipped + span.n_rows]
        checked = None if weights is None else as_weights(weights, len(rows), name)
        region: Region | None = None
        if self.starts is not None:
            start = self.starts[place] + skipped
            region = (slice(start, start + span.n_rows),)
        return Chunk(index, name, Block(rows, checked), region)

    def _rows(self, span: Span) -> tuple[Array, Array | None]:
        rows = np.empty((span.n_rows, len(self.features)), self.dtype)
        weighed = isinstance(self.weights, str)
        weights = np.empty(span.n_rows) if weighed else None
        n = 0
        for batch in self.reader.batches(span):
            columns = [values_of(batch.column(name)) for name in self.features]
            into = rows[n : n + batch.num_rows]
            for start in range(0, batch.num_rows, TILE_ROWS):
                tile = slice(start, start + TILE_ROWS)
                for j, column in enumerate(columns):
                    into[tile, j] = column[tile]
            if weights is not None:
                weights[n : n + batch.num_rows] = values_of(batch.column(self.weights))
            n += batch.num_rows
        rows, weights = rows[:n], None if weights is None else weights[:n]
        if 2 * n > span.n_rows:
            return rows, weights  # blocks of many sizes would leave holes in the memory
        # what a condition left of many is copied, so that the rest is freed
        return rows.copy(), None if weights is None else weights.copy()

    def salvage(self, index: int) -> tuple[list[Chunk], int]:
        span = self.spans[self.chunks.index(index)]
        if len(span.groups) < 2:
            return [], 1
        found, bad, skipped = [], 0, 0
        for group, length in zip(span.groups, span.lengths, strict=True):
            part = replace(span, groups=(group,), lengths=(length,))
            try:
                found.append(self._chunk(index, part, skipped))
            except ChunkError:
                bad += 1
            skipped += length
        return (found if self.starts is not None else _one(found)), bad


def _one(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Chunks without positions of their own as one, so that no two rows seem to be the same."""
    if len(chunks) < 2:
        return list(chunks)
    first = chunks[0]
    block = Block.concatenate([chunk.block for chunk in chunks])
    return [Chunk(first.index, first.name, block, None)]


class _Open(threading.local):
    """What a thread reads: the thread of a task goes from span to span, and ends with the task."""

    file: tuple[Any, ...] | None = None
    parquet: Any = None
    group: tuple[Any, ...] | None = None  # the row group that is read in parts, and its columns
    batches: Iterator[pa.RecordBatch] | None = None
    rest: pa.RecordBatch | None = None  # of the last batch, what belongs to the next part
    row: int = 0  # the next one


_open = _Open()


def _forget() -> None:
    """Close what this thread has open."""
    if _open.parquet is not None:
        _open.parquet.close(force=True)
    _open.file = _open.parquet = _open.group = _open.batches = _open.rest = None


def _opened(store: FileStore, file: File) -> Any:
    # the same path of the same age in the same store
    key = (file.path, file.size, file.stamp, store)
    if _open.file != key:
        _forget()
        # of a remote file the columns of neighbouring row groups are asked for together; of
        # others few bytes of a column are held at a time, where pyarrow would read it as a whole
        remote = store.is_remote
        _open.parquet = pq.ParquetFile(
            store.open(file.path, file.size),
            pre_buffer=remote,
            buffer_size=0 if remote else BUFFER_BYTES,
        )
        _open.file = key
    return _open.parquet


def _stream(
    store: FileStore, file: File, span: Span, columns: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    parquet = _opened(store, file)
    if not columns:
        yield from _of_no_column(span)
    elif span.stop is None:
        yield from parquet.iter_batches(BATCH_ROWS, list(span.groups), columns, use_threads=False)
    else:
        yield from _part(parquet, span, columns)


def _of_no_column(span: Span) -> Iterator[pa.RecordBatch]:
    for start in range(0, span.n_rows, BATCH_ROWS):
        yield pa.record_batch([pa.nulls(min(BATCH_ROWS, span.n_rows - start))], names=[""])


def _part(parquet: Any, span: Span, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """A part of a row group; the thread that reads the next part goes on where this one ends."""
    group = (_open.file, span.groups, columns)
    if _open.group != group or _open.row > span.start:
        _open.batches = parquet.iter_batches(
            BATCH_ROWS, list(span.groups), columns, use_threads=False
        )
        _open.group, _open.rest, _open.row = group, None, 0
    assert span.stop is not None
    while _open.row < span.stop:
        batch = _next_batch()
        if batch is None:
            return
        first = max(span.start - _open.row, 0)
        last = min(span.stop - _open.row, batch.num_rows)
        _open.row += last
        if last < batch.num_rows:
            _open.rest = batch.slice(last)
        if last > first:
            yield batch.slice(first, last - first)


def _next_batch() -> pa.RecordBatch | None:
    rest, _open.rest = _open.rest, None
    if rest is not None:
        return rest
    assert _open.batches is not None
    return next(_open.batches, None)
