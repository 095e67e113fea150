"""What is read of a Parquet dataset: its columns in all files, from their footers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from dask_em.core.names import nearest
from dask_em.errors import SchemaError, SourceError
from dask_em.sources.parquet.cells import BATCH_ROWS, TableReader
from dask_em.sources.parquet.columns import check_alike, features_of, is_number, unit_of
from dask_em.sources.parquet.files import Dataset
from dask_em.sources.parquet.filter import as_expression
from dask_em.sources.parquet.layout import Footer, Span, read_footers
from dask_em.sources.where import Condition

__all__ = ["Table"]

#: bytes of a value of a column that is read in passing, text or number, generously
VALUE_BYTES = 16
#: and how many batches of them there are: decoded, being decoded, and what allocators keep
BATCHES = 4


@dataclass(frozen=True)
class Table:
    """The columns that are read of a dataset.

    Parameters
    ----------
    schema : pyarrow schema
        Of the first file that can be read, and of the names of folders.
    partitions : pyarrow schema
        Of the latter.
    features : tuple of str
    weights : str, or None
        The column that holds them.
    condition : Condition, or None
    asked : tuple of str
        The columns that it is about.
    footers : tuple of Footer
        Of all files; where there is a condition without the row groups that cannot fulfil it.
    """

    schema: pa.Schema
    partitions: pa.Schema
    features: tuple[str, ...]
    weights: str | None
    condition: Condition | None
    asked: tuple[str, ...]
    footers: tuple[Footer, ...]

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        features: Sequence[str] | None,
        weights: str | None,
        condition: Condition | None,
    ) -> Table:
        """The columns of a dataset, checked in all files.

        Raises
        ------
        SourceError
            If no file can be read.
        SchemaError
            If columns do not exist, hold no numbers, or differ from file to file.
        """
        partitions = dataset.partition_schema()
        footers = read_footers(dataset, condition)
        first = _first(dataset, footers)
        inside = footers[first].schema
        assert inside is not None
        schema = pa.schema([*(f for f in inside if f.name not in partitions.names), *partitions])
        without = [*partitions.names, *([] if weights is None else [weights])]
        names = features_of(schema, features, without, dataset.where)
        if weights is not None:
            _check_weights(weights, schema, dataset.where)
        asked = () if condition is None else tuple(sorted(condition.names()))
        if condition is not None:
            as_expression(condition, schema, dataset.where)  # refuses what does not fit
        found = cls(schema, partitions, tuple(names), weights, condition, asked, tuple(footers))
        found._check_alike(dataset, first)
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """All that are read."""
        weights = () if self.weights is None else (self.weights,)
        return tuple(dict.fromkeys((*self.features, *weights, *self.asked)))

    @property
    def units(self) -> tuple[str | None, ...] | None:
        """Of the features, where one is told."""
        units = tuple(unit_of(self.schema.field(name)) for name in self.features)
        return units if any(unit is not None for unit in units) else None

    @property
    def stored_bytes(self) -> int:
        """Compressed bytes of all that is read."""
        return sum(
            group.stored_bytes(self.columns) for footer in self.footers for group in footer.groups
        )

    def decoding_bytes(self, spans: Sequence[Span]) -> int:
        """Of what is decoded in passing: the compressed columns of a span, and some batches."""
        stored = [
            {group.number: group.stored_bytes(self.columns) for group in footer.groups}
            for footer in self.footers
        ]
        most = max(sum(stored[span.file].get(n, 0) for n in span.groups) for span in spans)
        return most + BATCHES * BATCH_ROWS * VALUE_BYTES * len(self.columns)

    def reader(self, dataset: Dataset) -> TableReader:
        """What reads the columns of all files."""
        weights = () if self.weights is None else (self.weights,)
        return TableReader(
            dict(enumerate(dataset.files)),
            dataset.store,
            tuple(dict.fromkeys((*self.features, *weights))),
            self.condition,
            self.asked,
            self.partitions,
        )

    def _check_alike(self, dataset: Dataset, first: int) -> None:
        read = [self.schema.field(name) for name in self.columns]
        wanted = pa.schema([field for field in read if field.name not in self.partitions.names])
        for file, footer in zip(dataset.files, self.footers, strict=True):
            if footer.schema is not None:
                check_alike(
                    footer.schema,
                    wanted,
                    dataset.store.shown(file.path),
                    dataset.store.shown(dataset.files[first].path),
                )


def _first(dataset: Dataset, footers: Sequence[Footer]) -> int:
    """The first file with a footer."""
    for number, footer in enumerate(footers):
        if not footer.fault:
            return number
    file, fault = dataset.files[0], footers[0].fault
    raise SourceError(
        f"{dataset.store.shown(file.path)} cannot be read as Parquet ({fault})"
        + (f", nor can the {len(footers) - 1} other files of {dataset.where}" * (len(footers) > 1))
        + "; repair or leave out the files"
    )


def _check_weights(name: str, schema: pa.Schema, where: str) -> None:
    if name not in schema.names:
        raise SchemaError(
            f"there is no column {name!r} for weights in {where}; {nearest(name, schema.names)}"
        )
    kind = schema.field(name).type
    if not is_number(kind):
        raise SchemaError(
            f"column {name!r} of {where} is {kind}; weights are numbers of at least 0"
        )
