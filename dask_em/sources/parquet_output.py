"""Parquet datasets that are written file by file beside those that are read."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as arrow_fs

from dask_em.core.records import Array
from dask_em.engine.plan import Plan
from dask_em.engine.predict import Output, Writer
from dask_em.engine.readable import Readable
from dask_em.engine.source import Partition, Source
from dask_em.errors import ChunkError, DaskEmError, InputError, SourceError
from dask_em.place import Options, parse_place
from dask_em.sources.apart import check_outputs
from dask_em.sources.drafts import (
    UNFINISHED,
    WHOLE,
    Draft,
    Marks,
    drafted,
    explained,
    put_all,
    unwritten,
)
from dask_em.sources.marked import MARK_FILE, write_mark
from dask_em.sources.names import answer_names, chosen
from dask_em.sources.parquet_cells import TableReader
from dask_em.sources.parquet_files import ENDINGS, File, arrow_files
from dask_em.sources.parquet_layout import Span

if TYPE_CHECKING:
    from dask_em.sources.parquet import ParquetSource
    from dask_em.sources.zarr_output import Planned

__all__ = ["create_files"]


@contextmanager
def create_files(
    source: ParquetSource,
    planned: Sequence[Planned],
    keys: Sequence[str],
    *,
    overwrite: bool = False,
    storage_options: Options = None,
) -> Iterator[Output]:
    """A file for each file of a source, with a row for each row, as long as they are written.

    They bear the same names in the same folders, and have the same row groups; what was read of a
    row group in parts becomes several. When the context ends all are at their places; when it
    raises none is, as in `zarr_output.create_outputs`.

    Parameters
    ----------
    source : ParquetSource
        Whose rows are answered.
    planned : sequence of Planned
        The answers, which become columns of one dataset.
    keys : sequence of str
        Columns of the source, by name or pattern, that are copied to stand before the answers.
        Those that stand in the names of folders do so without being copied.

    Raises
    ------
    InputError
        If the answers are meant for several places, or two columns would have one name.
    SchemaError
        If a key does not exist.
    SourceError
        If the place is taken or cannot be written.
    """
    url = _one_place(planned)
    keys = _keys(source, keys)
    schema = _schema(source, planned, keys)
    check_outputs([url], overwrite, storage_options, source)
    place = parse_place(url, storage_options)
    with ExitStack() as stack:
        with explained(place):
            draft = stack.enter_context(drafted(place, overwrite, MARKS))
            files, root = draft.location
            _begin(files, root, source.dataset.files)
        yield ParquetOutput(
            arrow_files(files),
            root,
            str(place),
            schema,
            source.reader(keys, source.spans),
            source.reader(source.table.columns, source.spans),
            source.spans,
        )
        put_all([draft])


@dataclass(frozen=True)
class ParquetOutput(Output):
    """A dataset that is written; small and picklable.

    Parameters
    ----------
    file_system : pyarrow file system
    root : str
        The folder in which it is written.
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
    """

    file_system: Any
    root: str
    place: str
    schema: pa.Schema
    reader: TableReader
    rows: TableReader
    spans: tuple[Span, ...]

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
        self._draft = self._path = ""

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
            with suppress(Exception):
                self._output.file_system.delete_file(self._draft)

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
            if self._draft != self._path:
                self._output.file_system.move(self._draft, self._path)
        self._writer = None

    def _open(self, number: int) -> None:
        output = self._output
        _check_there(output)
        self._path = posixpath.join(output.root, _name(output.reader.files[number]))
        folder, name = posixpath.split(self._path)
        # an object is there when it is whole; a file is renamed then
        local = isinstance(output.file_system, arrow_fs.LocalFileSystem)
        self._draft = f"{folder}/.{name}.{uuid4().hex[:8]}" if local else self._path
        texts = [field.name for field in output.schema if not pa.types.is_floating(field.type)]
        self._file, self._writer = (
            number,
            pq.ParquetWriter(
                self._draft,
                output.schema,
                filesystem=output.file_system,
                compression="zstd",
                use_dictionary=texts,
            ),
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
            raise unwritten(self._output.place, error) from error


def _name(file: File) -> str:
    # a file may be given by any name, but in a folder only some are taken for Parquet
    return file.name if file.name.endswith(ENDINGS) else f"{file.name}.parquet"


def _check_there(output: ParquetOutput) -> None:
    # a worker on another machine, or after the writing was given up, must not make folders
    local = isinstance(output.file_system, arrow_fs.LocalFileSystem)
    if local and not Path(output.root, MARK_FILE).exists():
        raise SourceError(
            f"the output {output.place} is not there on a worker: either the writing was given "
            "up, or the worker does not mount the folder; write to one that all workers mount"
        )


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


def _one_place(planned: Sequence[Planned]) -> Any:
    urls = list(dict.fromkeys(one.url for one in planned))
    if len(urls) > 1:
        raise InputError(
            f"the answers for rows of Parquet are columns of one dataset, but {len(urls)} places "
            f"were given: {', '.join(map(str, urls))}; pass True instead of a further URL, e.g. "
            "probabilities=True"
        )
    return urls[0]


def _keys(source: ParquetSource, wanted: Sequence[str]) -> list[str]:
    if not wanted:
        return []
    there = source.table.schema.names
    wanted = [wanted] if isinstance(wanted, str) else wanted
    names = chosen(wanted, there, there, source.dataset.where)
    return [name for name in names if name not in source.table.partitions.names]


def _schema(source: ParquetSource, planned: Sequence[Planned], keys: Sequence[str]) -> pa.Schema:
    fields = [source.table.schema.field(name).with_nullable(True) for name in keys]
    features = source.schema.feature_names or ()
    for one in planned:
        about = {key: str(value) for key, value in one.attributes.items()}
        kind = pa.from_numpy_dtype(np.dtype(one.dtype))
        names = answer_names(one.name, one.trailing, features)
        fields += [pa.field(name, kind, metadata=about) for name in names]
    names = [field.name for field in fields] + source.table.partitions.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"keys and answers both have a column {twice[0]!r}; leave that key out, or rename it"
        )
    return pa.schema(fields)


def _begin(files: Any, root: str, of: Sequence[File]) -> None:
    """The mark, and the folders of all files."""
    for name in sorted({posixpath.dirname(file.name) for file in of} | {""}):
        files.makedirs(posixpath.join(root, name), exist_ok=True)
    write_mark(files, root, UNFINISHED)


def _mark_whole(draft: Draft) -> None:
    files, root = draft.location
    for name in files.find(root):
        # what a worker left that died while it wrote
        if posixpath.basename(name).startswith("."):
            files.rm_file(name)
    write_mark(files, root, WHOLE)


MARKS = Marks(MARK_FILE, _mark_whole)
