"""Parquet as a source: a file, a folder, a glob, a partitioned dataset, by path or URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, final

import numpy as np

from dask_em.core.block import check_weights
from dask_em.core.records import Array
from dask_em.engine.ahead import remote_reads
from dask_em.engine.fingerprint import Fingerprint, digest, probe
from dask_em.engine.source import Partition, Schema, Source
from dask_em.engine.writing import Output
from dask_em.errors import SchemaError
from dask_em.place import Options
from dask_em.sources.parquet.cells import ParquetPartition, TableReader
from dask_em.sources.parquet.columns import dtype_of
from dask_em.sources.parquet.files import Dataset, find_files
from dask_em.sources.parquet.filter import without_files
from dask_em.sources.parquet.layout import LIMIT_BYTES, Span, spans_of
from dask_em.sources.parquet.table import Table
from dask_em.sources.where import Condition, parse_where

if TYPE_CHECKING:
    from dask_em.engine.ledger import Ledger
    from dask_em.sources.zarr_output import Planned

__all__ = ["ParquetSource"]


@final
class ParquetSource(Source):
    """Rows of Parquet files, in the order of their names. Made by `open`.

    A chunk is a run of row groups of one file, or a part of a large one. Where rows are filtered,
    or a footer cannot be read, the number of rows is not known before reading. A file without a
    readable footer is one chunk, which cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        table: Table,
        spans: Sequence[Span],
        weights: str | Array | None,
        schema: Schema,
    ) -> None:
        self.schema = schema
        self.dataset, self.table, self.spans = dataset, table, tuple(spans)
        self.local = dataset.store.in_this_process
        in_parts = any(span.stop is not None for span in spans)
        if dataset.store.is_remote and not in_parts:
            # the parts of a row group are read one after the other: each thread would begin anew
            self.reads_at_once = remote_reads(schema.chunk_bytes)
        self._reader, self._weights = table.reader(dataset), weights
        self._starts = tuple(accumulate((span.n_rows for span in spans), initial=0))

    @classmethod
    def open(
        cls,
        data: Any,
        *,
        features: Sequence[str] | None = None,
        weights: Any = None,
        where: str | Condition | None = None,
        storage_options: Mapping[str, Any] | None = None,
        limit_bytes: int = LIMIT_BYTES,
    ) -> ParquetSource:
        """Read the footers of files and decide how they are cut.

        Parameters
        ----------
        data : str, path, list of them, or pyarrow.dataset.Dataset
            A file, a folder, or a glob; URLs are opened by fsspec. ``name=value`` in the names of
            folders are columns too.
        features : sequence of str, optional
            The columns that make up a row, by name or by pattern such as ``temp*``. By default all
            that hold numbers, truth values and those in the names of folders excepted.
        weights : str or array, optional
            Non-negative weight of each row: a column, or an array in memory in the order of the
            rows.
        where : str, optional
            Which rows are read, such as ``"depth < 1000 and year >= 2010"``; see `parse_where`.
            Row groups in which there can be none are not read.
        storage_options : mapping, optional
            What fsspec needs to open a URL.
        limit_bytes : int
            A row group of more bytes of rows is read in parts.

        Raises
        ------
        SourceError
            If there is no file, or none can be read.
        SchemaError
            If columns do not exist, hold no numbers, or differ from file to file.
        InputError
            If `where` cannot be understood.
        """
        condition = (parse_where(where) if where else None) if isinstance(where, str) else where
        dataset = find_files(data, storage_options)
        if condition is not None:
            dataset = without_files(dataset, condition)
        column = weights if isinstance(weights, str) else None
        table = Table.of(dataset, features, column, condition)
        dtype = dtype_of([table.schema.field(name).type for name in table.features])
        row_bytes = len(table.features) * dtype.itemsize + (0 if weights is None else 8)
        spans = spans_of(table.footers, row_bytes, limit_bytes)
        known = condition is None and not any(footer.fault for footer in table.footers)
        n_rows = sum(span.n_rows for span in spans) if known else None
        schema = Schema(
            n_features=len(table.features),
            dtype=dtype,
            sample_shape=None if n_rows is None else (n_rows,),
            n_chunks=len(spans),
            chunk_bytes=max(span.n_rows for span in spans) * row_bytes,
            feature_names=table.features,
            describe=f"Parquet {dataset.where}",
            sample_chunks=None if n_rows is None else (tuple(span.n_rows for span in spans),),
            stored_bytes=table.stored_bytes,
            decoding_bytes=table.decoding_bytes(spans),
            sample_dims=("row",),
            feature_units=table.units,
        )
        weighed = column if weights is None or column else _in_memory(weights, n_rows)
        return cls(dataset, table, spans, weighed, schema)

    def partition(self, chunks: range) -> Partition:
        spans = self.spans[chunks.start : chunks.stop]
        weights: Any = self._weights
        if isinstance(weights, np.ndarray):
            # pickled, a view takes only its own rows along
            weights = tuple(weights[self._starts[i] : self._starts[i + 1]] for i in chunks)
        assert self.schema.feature_names is not None
        return ParquetPartition(
            chunks,
            self._part(self._reader, spans),
            spans,
            None if self.schema.sample_shape is None else self._starts[chunks.start : chunks.stop],
            self.schema.feature_names,
            weights,
            self.schema.dtype,
            reads_at_once=self.reads_at_once,
        )

    def reader(self, columns: Sequence[str], spans: Sequence[Span]) -> TableReader:
        """What reads other columns of the rows that this source reads."""
        wanted = replace(self._reader, columns=tuple(columns))
        return self._part(wanted, spans)

    def fingerprint(self) -> Fingerprint:
        now = self.dataset.relisted()
        if self._reader.condition is not None:
            names = {file.path for file in self.dataset.files}
            now = replace(now, files=tuple(file for file in now.files if file.path in names))
        weights = self._weights
        facts = {
            "files": f"{len(now.files)} #{digest([file.size for file in now.files])}",
            "footers": digest([(str(f.schema), f.n_rows) for f in self.table.footers]),
            "condition": str(self._reader.condition),
            "weights": probe(weights) if isinstance(weights, np.ndarray) else weights,
        }
        written = digest([(file.path, file.stamp) for file in now.files])
        return Fingerprint.of(self.schema, facts, written)

    def create_outputs(
        self,
        planned: Sequence[Planned],
        *,
        keys: Sequence[str] | None = None,
        overwrite: bool = False,
        storage_options: Options = None,
        ledger: Ledger | None = None,
    ) -> AbstractContextManager[Output]:
        """Files like those that are read, for answers; see `create_files`."""
        from dask_em.sources.parquet.output import create_files

        return create_files(
            self,
            planned,
            keys or (),
            overwrite=overwrite,
            storage_options=storage_options,
            ledger=ledger,
        )

    def addresses(self) -> set[tuple[str, ...]]:
        """Of what is read, so that no output lies in it."""
        return self.dataset.addresses

    def _part(self, reader: TableReader, spans: Sequence[Span]) -> TableReader:
        numbers = dict.fromkeys(span.file for span in spans)
        return replace(reader, files={n: self.dataset.files[n] for n in numbers})


def _in_memory(weights: Any, n_rows: int | None) -> Array:
    if n_rows is None:
        raise SchemaError(
            "sample_weight lies in memory, but where rows are filtered, or a file cannot be read, "
            "nobody knows which weight is whose; store the weights as a column and name it"
        )
    return check_weights(np.asarray(weights), n_rows)
