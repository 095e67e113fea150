"""What tasks write of a Parquet dataset: one file after the other, each as a whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_em.core.records import Array
from dask_em.engine.plan import Plan
from dask_em.engine.readable import Readable
from dask_em.engine.source import Partition, Source
from dask_em.engine.writing import Output, Writer
from dask_em.errors import ChunkError, DaskEmError
from dask_em.place import LocalPlace, Place
from dask_em.sources.drafts import not_there, unwritten
from dask_em.sources.durable import flush
from dask_em.sources.marked import MARK_FILE
from dask_em.sources.parquet.cells import TableReader
from dask_em.sources.parquet.files import File
from dask_em.sources.parquet.layout import Span
from dask_em.sources.paths import PARQUET_ENDINGS

__all__ = ["ParquetOutput"]


@dataclass(frozen=True)
class ParquetOutput(Output):
    """A dataset that is written; small and picklable.

    Parameters
    ----------
    folder : Place
        Where it is written.
    place : str
        Where it will be, for error messages.
    schema : pyarrow schema
        Of all files: keys, then answers.
    reader : TableReader
        Of the keys; it knows all files.
    rows : TableReader
        Of what is answered.
    spans : tuple of Span
        Of all chunks.
    kept : bool
        Whether what is written is kept if the work is broken off.
    """

    folder: Place
    place: str
    schema: pa.Schema
    reader: TableReader
    rows: TableReader
    spans: tuple[Span, ...]
    kept: bool = False

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        task = _Task(self)
        try:
            yield task.write
        except BaseException:
            task.give_up()
            raise
        task.finish()

    def partitions(self, source: Source, plan: Plan) -> list[list[Partition]]:
        """For each task whole files."""
        tasks: list[list[Partition]] = [[] for _ in range(plan.n_tasks)]
        total = sum(span.n_rows + 1 for span in self.spans)
        begin = done = 0
        for _, spans in groupby(self.spans, lambda span: span.file):
            of_file = list(spans)
            weight = sum(span.n_rows + 1 for span in of_file)
            # the task in whose share the middle of the file lies
            task = (2 * done + weight) * plan.n_tasks // (2 * total)
            tasks[task].append(source.partition(range(begin, begin + len(of_file))))
            begin, done = begin + len(of_file), done + weight
        return tasks


class _Task:
    """What one task writes: one file after the other."""

    def __init__(self, output: ParquetOutput) -> None:
        self._output = output
        self._file: int | None = None
        self._writer: Any = None
        self._draft = self._name = ""  # a local path, and the name that it gets in the output

    def write(self, found: Readable, answers: tuple[Array, ...]) -> None:
        """Append the rows of a chunk to its file."""
        span = self._output.spans[found.index]
        if span.fault:
            return  # nobody knows how many rows it has, so it gets no file
        keys = self._keys(span, found)
        with self._explained():
            if span.file != self._file:
                self._finish()
                self._open(span.file)
            table = _table(self._output.schema, keys, answers)
            for part in _row_groups(table, span):
                if len(part):
                    self._writer.write_table(part, row_group_size=len(part))

    def finish(self) -> None:
        """Put the last file in its place."""
        with self._explained():
            self._finish()

    def give_up(self) -> None:
        """Leave nothing of a file that was begun."""
        if self._writer is not None:
            with suppress(Exception):  # the first error is the one to tell
                self._writer.close()
            with suppress(OSError):
                os.unlink(self._draft)

    def _finish(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        folder = self._output.folder
        if isinstance(folder, LocalPlace):
            path = Path(folder.path, self._name)
            os.replace(self._draft, path)
            if self._output.kept:
                flush([path], folder.path)
        else:
            _check_there(self._output)
            folder.files().upload(self._draft, self._name)
            os.unlink(self._draft)
        self._writer = None

    def _open(self, number: int) -> None:
        output = self._output
        _check_there(output)
        self._file, self._name = number, _name(output.reader.files[number])
        if isinstance(output.folder, LocalPlace):
            path = Path(output.folder.path, self._name)
            self._draft = str(path.with_name(f".{path.name}.{uuid4().hex[:8]}"))
        else:
            # a request that fails is made again with all that it is to write
            handle, self._draft = tempfile.mkstemp(".parquet", "dask_em-")
            os.close(handle)
        texts = [field.name for field in output.schema if not pa.types.is_floating(field.type)]
        self._writer = pq.ParquetWriter(
            self._draft, output.schema, compression="zstd", use_dictionary=texts
        )

    def _keys(self, span: Span, found: Readable) -> pa.Table:
        """The keys of those rows that have answers."""
        if not found.bad_chunks:
            return self._read(span)
        parts = [
            replace(span, groups=(group,), lengths=(length,))
            for group, length in zip(span.groups, span.lengths, strict=True)
        ]
        if found.region is None:  # then there are no answers for rows that cannot be read
            there = [self._read(part) for part in parts if self._has_answers(part)]
            return pa.concat_tables([self._no_keys(0), *there])
        return pa.concat_tables([self._read_if_possible(part) for part in parts])

    def _has_answers(self, span: Span) -> bool:
        try:
            for _ in self._output.rows.batches(span):
                pass
        except ChunkError:
            return False
        return True

    def _read_if_possible(self, span: Span) -> pa.Table:
        try:
            return self._read(span)
        except ChunkError:
            return self._no_keys(span.n_rows)

    def _no_keys(self, n: int) -> pa.Table:
        fields = [self._output.schema.field(name) for name in self._output.reader.columns]
        return pa.table([pa.nulls(n, field.type) for field in fields], pa.schema(fields))

    def _read(self, span: Span) -> pa.Table:
        reader = self._output.reader
        fields = [self._output.schema.field(name) for name in reader.columns]
        if not fields:
            return self._no_keys(0)
        batches = [batch.select(reader.columns) for batch in reader.batches(span)]
        # files may differ in the types of numbers, and in what a field says of itself
        tables = [pa.Table.from_batches([batch]).cast(pa.schema(fields)) for batch in batches]
        return pa.concat_tables([self._no_keys(0), *tables])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DaskEmError:
            raise
        except Exception as error:  # a file system or a network may raise anything here
            raise unwritten(self._output.place, error, self._output.kept) from error


def _name(file: File) -> str:
    # a file may be given by any name, but in a folder only some are taken for Parquet
    return file.name if file.name.endswith(PARQUET_ENDINGS) else f"{file.name}.parquet"


def _check_there(output: ParquetOutput) -> None:
    if not output.folder.files().exists(MARK_FILE):
        raise not_there(output.place)


def _table(schema: pa.Schema, keys: pa.Table, answers: Sequence[Array]) -> pa.Table:
    columns = [keys.column(name) for name in keys.column_names]
    for values in answers:
        flat = values.reshape(len(values), prod(values.shape[1:]))
        columns += [pa.array(np.ascontiguousarray(column)) for column in flat.T]
    return pa.table(columns, schema)


def _row_groups(table: pa.Table, span: Span) -> Iterator[pa.Table]:
    """What becomes a row group each."""
    if span.stop is not None or len(table) != span.n_rows or not span.groups:
        yield table
        return
    start = 0
    for length in span.lengths:
        yield table.slice(start, length)
        start += length
