"""Mapped sources: rows of any source, standardized, logarithmized, masked, ... as they are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any, final

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.fingerprint import Fingerprint, digest, probe
from dask_em.engine.predict import Prediction
from dask_em.engine.query import Query
from dask_em.engine.runner import SupportsFutures
from dask_em.engine.source import (
    Change,
    Chunk,
    Coordinate,
    Partition,
    Reader,
    Region,
    Schema,
    Source,
)
from dask_em.errors import InputError
from dask_em.mapping.chain import Chain, LocatedChain
from dask_em.mapping.features import Features
from dask_em.mapping.step import Samples
from dask_em.sources.grid import Grid

__all__ = ["MappedSource", "features_of"]


@final
class MappedSource(Source):
    """Rows of another source, mapped chunk by chunk as they are read.

    Parameters
    ----------
    source : Source
        It is left as it is, and nothing is written into rows that it holds in memory.
    mapping : Chain
        What is done to its rows.
    features : Features, optional
        Those of the source, where it does not know their names itself.

    Raises
    ------
    SchemaError, DataError
        If a step does not fit the source.
    InputError
        If a step is to learn something of the data first, which a fit does.
    """

    def __init__(self, source: Source, mapping: Chain, features: Features | None = None) -> None:
        known = features_of(source.schema) if features is None else features
        self.source, self.mapping = source, mapping.bound(known)
        if self.mapping.needs_moments:
            raise InputError(
                "a mapping is to subtract means, or divide by deviations, that it does not know; "
                "give it to fit, or take that of a fitted model, its mapping_"
            )
        schema = source.schema
        self._located = self.mapping.located(known, _samples(source), schema.describe)
        # where chunks lie is worked out only if a step wants to know
        placed = any(step.of_places for step in self.mapping)
        self._grid = _grid(schema) if placed else None
        n_subtracted = sum(step.of_places and not step.of_data for step in self.mapping)
        self.schema = _schema(schema, self.mapping.after(known), n_subtracted)
        self.local, self._recalls = source.local, False
        self.reads_at_once = source.reads_at_once

    def recalling(self) -> MappedSource:
        """The same, whose chunks also hold what is stored."""
        other = copy(self)
        other._recalls = True
        return other

    def partition(self, chunks: range) -> Partition:
        part, region = self.source.partition(chunks), None
        if self._grid is not None and chunks:
            region = _around([self._grid.region(index) for index in chunks])
        return MappedPartition(
            chunks,
            part,
            self._located,
            part.resident,
            self._recalls,
            region,
            reads_at_once=self.reads_at_once,
        )

    def fingerprint(self) -> Fingerprint:
        found = self.source.fingerprint()
        tree, arrays = self.mapping.of_model.flatten()
        facts = {"mapping": digest([tree, {name: _of(one) for name, one in arrays.items()}])}
        pairs = zip(self.mapping, self._located.parts, strict=True)
        of_data = [part for step, part in pairs if step.of_data]
        for number, part in enumerate(of_data):
            facts[f"mapping of rows {number}"] = digest([type(part).__name__, *_shown(part)])
        return Fingerprint({**found.facts, **facts}, found.written)

    def coordinates(self) -> Mapping[str, Coordinate]:
        return self.source.coordinates()

    @property
    def origin(self) -> Source:
        return self.source.origin

    def labelled(self, answers: Any, query: Query) -> Any:
        return self.source.labelled(answers, query)

    def answered(self, prediction: Prediction, change: Change | None = None) -> Any:
        return self.source.answered(prediction, _Mapper(self._located, self._recalls, change))


@final
@dataclass(frozen=True, eq=False)
class MappedPartition(Partition):
    """A run of chunks, mapped as they are read."""

    part: Partition  # of the source
    mapping: LocatedChain
    resident: bool = False
    recalls: bool = False  # whether chunks also hold what is stored
    region: Region | None = None  # outside of which nothing of the mapping is needed

    def __getstate__(self) -> dict[str, Any]:
        """What travels: in one process all partitions share what the mapping holds."""
        if self.region is None:
            return dict(vars(self))
        return {**vars(self), "mapping": self.mapping.cut(self.region), "region": None}

    def open(self) -> Reader:
        read, mapped = self.part.open(), _Mapper(self.mapping, self.recalls)
        return lambda index: mapped(read(index))

    def salvage(self, index: int) -> tuple[list[Chunk], int]:
        chunks, bad = self.part.salvage(index)
        return list(map(_Mapper(self.mapping, self.recalls), chunks)), bad

    def futures(self) -> Iterable[Any]:
        """Of blocks that the cluster holds."""
        return self.part.futures() if isinstance(self.part, SupportsFutures) else ()


@final
@dataclass(frozen=True, eq=False)
class _Mapper:
    """Maps chunks as they were read."""

    mapping: LocatedChain
    recalls: bool = False  # whether chunks also hold what is stored
    change: Change | None = None  # what is done to them afterwards

    def __call__(self, chunk: Chunk) -> Chunk:
        here = self.mapping.at(chunk.region)
        values, losses = here.apply(chunk.block.values)
        block = Block(values, chunk.block.weights)
        name = f"{chunk.name} ({'; '.join(losses)})" if losses else chunk.name
        kept = _both(chunk.kept, here.kept())
        stored = chunk.block.values if self.recalls else None
        mapped = replace(chunk, name=name, block=block, kept=kept, mapping=here, stored=stored)
        return self.change(mapped) if self.change else mapped


def features_of(schema: Schema) -> Features:
    """What a schema says of its features."""
    return Features(schema.n_features, schema.feature_names, schema.feature_units)


def _samples(source: Source) -> Samples | None:
    schema = source.schema
    if schema.sample_shape is None or schema.sample_chunks is None:
        return None
    return Samples(schema.sample_shape, schema.sample_dims, source.coordinates, schema.describe)


def _schema(schema: Schema, features: Features, n_subtracted: int) -> Schema:
    """That of mapped rows, from which so many values are subtracted that depend on their place."""
    saved = 0
    if schema.sample_chunks is not None:
        rows = prod(max(lengths, default=0) for lengths in schema.sample_chunks)
        saved = rows * (schema.n_features - features.n) * schema.dtype.itemsize
    return replace(
        schema,
        n_features=features.n,
        feature_names=features.names,
        feature_units=features.units,
        chunk_bytes=schema.chunk_bytes - saved,
        # the rows as they were read, and what is subtracted, or what answers are made of
        decoding_bytes=schema.decoding_bytes
        + schema.chunk_bytes
        + max(schema.chunk_bytes, n_subtracted * schema.chunk_bytes * 8 // schema.dtype.itemsize),
    )


def _grid(schema: Schema) -> Grid:
    assert schema.sample_shape is not None
    assert schema.sample_chunks is not None
    return Grid(schema.sample_shape, schema.sample_chunks)


def _around(regions: list[Region]) -> Region:
    """The region that holds all of some."""
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*regions, strict=True)
    )


def _both(one: Array | None, other: Array | None) -> Array | None:
    return one if other is None else other if one is None else one & other


def _shown(part: Any) -> list[str]:
    """What tells a step that belongs to the rows, as it lies there, from others."""
    values = [getattr(part, one.name) for one in fields(part)]
    return [probe(one) if isinstance(one, np.ndarray) else repr(one) for one in values]


def _of(values: Array) -> str:
    return digest(f"{values.dtype} {values.shape}".encode() + values.tobytes())
