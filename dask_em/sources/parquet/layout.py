"""Which rows of Parquet files are read together, decided from their footers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from dask_em.errors import SourceError
from dask_em.sources.parquet.files import Dataset, File
from dask_em.sources.parquet.filter import as_expression
from dask_em.sources.where import Condition

__all__ = ["Footer", "Span", "read_footers", "spans_of"]

#: row groups of a file are read together up to so many bytes of rows
JOINED_BYTES = 16 * 2**20
#: and one of more rows is read in parts
LIMIT_BYTES = 64 * 2**20
#: footers that are read at a time
FOOTERS_AT_ONCE = 16


@dataclass(frozen=True)
class Group:
    """A row group."""

    number: int
    n_rows: int
    stored: tuple[tuple[str, int], ...]  # compressed bytes of each column

    def stored_bytes(self, columns: Iterable[str]) -> int:
        """Compressed bytes of some columns."""
        told = dict(self.stored)
        return sum(told.get(column, 0) for column in columns)


@dataclass(frozen=True)
class Footer:
    """What a file tells about itself, or why it cannot."""

    schema: pa.Schema | None
    groups: tuple[Group, ...] = ()
    fault: str = ""  # why the footer cannot be read

    @property
    def n_rows(self) -> int:
        return sum(group.n_rows for group in self.groups)


@dataclass(frozen=True)
class Span:
    """Rows of one file that are read together: whole row groups, or a part of one."""

    file: int  # among those of the dataset
    groups: tuple[int, ...]  # row groups, ascending
    lengths: tuple[int, ...]  # and their rows
    start: int = 0  # the first row of the part, counted from the beginning of its row group
    stop: int | None = None  # None for whole row groups
    fault: str = ""  # why nothing of the file can be read

    @property
    def n_rows(self) -> int:
        return sum(self.lengths) if self.stop is None else self.stop - self.start


def read_footers(dataset: Dataset, condition: Condition | None = None) -> list[Footer]:
    """The footers of all files, many at a time.

    Where there is a condition, row groups are left out whose statistics say that no row of theirs
    fulfils it.
    """
    form = ds.ParquetFileFormat()

    def footer(file: File) -> Footer:
        try:
            with dataset.store.open(file.path, file.size) as opened:
                fragment = form.make_fragment(opened)
                metadata = fragment.metadata
            schema = metadata.schema.to_arrow_schema()
        except SourceError:  # of a store that does not answer: that says nothing of the file
            raise
        except (OSError, pa.ArrowException) as error:
            return Footer(None, fault=f"{type(error).__name__}: {error}")
        shown = dataset.store.shown(file.path)
        kept = None if condition is None else _kept(fragment, schema, condition, shown)
        return Footer(schema, tuple(_groups(metadata, kept)))

    with ThreadPoolExecutor(FOOTERS_AT_ONCE, thread_name_prefix="em-footer") as pool:
        return list(pool.map(footer, dataset.files))


def _kept(fragment: Any, schema: pa.Schema, condition: Condition, shown: str) -> list[int] | None:
    """The row groups in which rows may fulfil a condition; None for all."""
    if not condition.names() <= set(schema.names):
        return None  # it asks for the names of folders as well, or for what is not there
    expression = as_expression(condition, schema, shown)
    return [group.id for group in fragment.subset(filter=expression, schema=schema).row_groups]


def _groups(metadata: Any, kept: Sequence[int] | None) -> Iterator[Group]:
    for number in range(metadata.num_row_groups) if kept is None else kept:
        group = metadata.row_group(number)
        chunks = map(group.column, range(group.num_columns))
        stored = tuple((chunk.path_in_schema, chunk.total_compressed_size) for chunk in chunks)
        yield Group(number, group.num_rows, stored)


def spans_of(footers: Sequence[Footer], row_bytes: int, limit_bytes: int) -> list[Span]:
    """How all files are cut. Every file has a span, so that none is forgotten."""
    return [
        span
        for number, footer in enumerate(footers)
        for span in _spans(number, footer, row_bytes, limit_bytes)
    ]


def _spans(file: int, footer: Footer, row_bytes: int, limit_bytes: int) -> Iterator[Span]:
    if footer.fault:
        yield Span(file, (), (), fault=footer.fault)
        return
    joined: list[Group] = []
    made = 0
    for group in footer.groups:
        together = sum(one.n_rows for one in joined) + group.n_rows
        if joined and together * row_bytes > min(JOINED_BYTES, limit_bytes):
            yield _whole(file, joined)
            joined, made = [], made + 1
        if group.n_rows * row_bytes > limit_bytes:
            yield from _parts(file, group, row_bytes, limit_bytes)
            made += 1
        else:
            joined.append(group)
    if joined or not made:
        yield _whole(file, joined)


def _whole(file: int, groups: Sequence[Group]) -> Span:
    return Span(
        file, tuple(group.number for group in groups), tuple(group.n_rows for group in groups)
    )


def _parts(file: int, group: Group, row_bytes: int, limit_bytes: int) -> Iterator[Span]:
    n_parts = -(-group.n_rows * row_bytes // limit_bytes)
    n_parts = min(n_parts, group.n_rows)
    edges = [group.n_rows * part // n_parts for part in range(n_parts + 1)]
    for start, stop in pairwise(edges):
        yield Span(file, (group.number,), (group.n_rows,), start, stop)
