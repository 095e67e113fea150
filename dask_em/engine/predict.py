"""Posteriors, labels and densities of rows: at once, or lazily."""

from __future__ import annotations

import sys
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_em.core.block import Block, Missing
from dask_em.core.model import (
    LatentPosterior,
    MixturePosterior,
    SupportsLatent,
    SupportsPosterior,
)
from dask_em.core.records import Array
from dask_em.engine.limits import one_blas_thread
from dask_em.engine.query import Query
from dask_em.engine.readable import Readable, readable
from dask_em.engine.source import Chunk, Partition, Region, Source
from dask_em.engine.stream import Reading, Tally
from dask_em.errors import SchemaError

if TYPE_CHECKING:
    import dask.array

__all__ = ["Prediction", "lazily", "now"]


#: rows that are asked at a time
ASKED_ROWS = 1 << 14


@dataclass(frozen=True)
class Prediction:
    """What is asked of a model, and how the rows are read."""

    model: SupportsPosterior[Any] | SupportsLatent[Any]
    parameters: Any
    queries: tuple[Query, ...]
    reading: Reading

    def answers(self, found: Readable) -> tuple[Array, ...]:
        """For each query the answers in the shape of a chunk's region.

        Rows that are left out or cannot be read are `absent`. Where regions are not known, there
        is an answer for each row that can be read.
        """
        if found.region is None:
            return self._one_by_one(found.chunks)
        if not found.bad_chunks:
            (chunk,) = found.chunks
            return self._in_shape(chunk, found.region)
        whole = tuple(query.blank(_shape(found.region)) for query in self.queries)
        for chunk in found.chunks:
            assert chunk.region is not None
            inside = _inside(chunk.region, found.region)
            parts = self._in_shape(chunk, chunk.region)
            for answers, part in zip(whole, parts, strict=True):
                answers[inside] = part
        return whole

    def _one_by_one(self, chunks: Sequence[Chunk]) -> tuple[Array, ...]:
        none = tuple(query.blank((0,)) for query in self.queries)
        return tuple(map(np.concatenate, zip(none, *map(self.of_rows, chunks), strict=True)))

    def _in_shape(self, chunk: Chunk, region: Region) -> tuple[Array, ...]:
        shape, rows = _shape(region), self.of_rows(chunk)
        return tuple(answers.reshape(*shape, *answers.shape[1:]) for answers in rows)

    def of_rows(self, chunk: Chunk) -> tuple[Array, ...]:
        """For each query the answer to each row of a chunk."""
        answers = self._rows(chunk)
        if chunk.mapping is None:
            return answers
        pairs = zip(self.queries, answers, strict=True)
        return tuple(_undone(query, one, chunk) for query, one in pairs)

    def _rows(self, chunk: Chunk) -> tuple[Array, ...]:
        whole, missing = chunk.block, self.reading.missing or Missing()
        there = whole if chunk.kept is None else whole.take(chunk.kept)
        block = missing.apply(there, chunk.name, self.reading.schema.feature_names)
        queries = [_asked(query, chunk) for query in self.queries]
        found = tuple(query.blank((len(block),)) for query in queries)
        # part by part: a posterior takes k numbers a row, and all queries share it
        for start in range(0, len(block), ASKED_ROWS):
            rows = slice(start, start + ASKED_ROWS)
            posterior = self._posterior(block.take(rows))
            for query, answers in zip(queries, found, strict=True):
                answers[rows] = query.ask(posterior)
        if len(block) == len(whole):
            return found
        return self._spread(found, chunk, dropped=len(block) < len(there))

    def _spread(self, found: Sequence[Array], chunk: Chunk, dropped: bool) -> tuple[Array, ...]:
        """Answers for some rows of a chunk as answers for all."""
        block = chunk.block
        asked = np.ones(len(block), dtype=bool) if chunk.kept is None else chunk.kept
        if dropped:
            asked = asked & block.observed()
        queries = (_asked(query, chunk) for query in self.queries)
        spread = tuple(query.blank((len(block),)) for query in queries)
        for answers, some in zip(spread, found, strict=True):
            answers[asked] = some
        return spread

    def _posterior(self, block: Block) -> MixturePosterior | LatentPosterior:
        if isinstance(self.model, SupportsLatent):
            return self.model.latent(block, self.parameters)
        return MixturePosterior(*self.model.posterior(block, self.parameters))


def now(source: Source, prediction: Prediction) -> tuple[Array, Tally]:
    """Answers to one query for a source in this process's memory, in the shape of its samples.

    The tally says how many chunks were skipped.
    """
    schema, (query,) = source.schema, prediction.queries
    if schema.sample_shape is None:
        raise AssertionError("the shape of rows in memory is known")
    whole, total = query.blank(schema.sample_shape), Tally()
    partition = source.partition(range(schema.n_chunks))
    with one_blas_thread():
        reader = partition.open()
        for index in partition.chunks:
            found = readable(partition, reader, index, prediction.reading)
            assert found.region is not None
            (whole[found.region],) = prediction.answers(found)
            total = total + found.tally
    return whole, total


def lazily(source: Source, prediction: Prediction) -> dask.array.Array:
    """Answers to one query as a dask array with the source's sample chunks; nothing is read yet.

    Chunks of unknown lengths stay so. Where a chunk is skipped, the task warns; on a cluster the
    client repeats it.
    """
    import dask.array

    schema, (query,) = source.schema, prediction.queries
    chunks: tuple[tuple[float, ...], ...] | None = schema.sample_chunks
    if chunks is None:
        if schema.sample_dims is None or len(schema.sample_dims) > 1:
            raise SchemaError(
                f"the chunks of {schema.describe} have no known lengths, so answers cannot be laid "
                "out; call compute_chunk_sizes() on the array first"
            )
        chunks = ((np.nan,) * schema.n_chunks,)
    chunks = tuple(axis or (0,) for axis in chunks)  # dask has no axis without chunks
    trailing = tuple((length,) for length in query.trailing)
    name = f"em-predict-{uuid.uuid4().hex}"
    shape = tuple(len(axis) for axis in chunks)
    last = (0,) * len(trailing)
    query_key = f"{name}-query"  # in the graph once: it holds the parameters
    graph: dict[Any, Any] = {query_key: prediction}
    for index, cell in enumerate(np.ndindex(*shape)):
        part = source.partition(range(index, index + 1))
        graph[(name, *cell, *last)] = (_cell, part, query_key)
    return dask.array.Array(graph, name, (*chunks, *trailing), dtype=query.dtype)


def _cell(partition: Partition, prediction: Prediction) -> Array:
    with one_blas_thread():
        index = partition.chunks.start
        found = readable(partition, partition.open(), index, prediction.reading)
        (answers,) = prediction.answers(found)
    if found.bad_chunks:
        _warn_in_task(found)
    return answers


def _warn_in_task(found: Readable) -> None:
    where = f"chunk {found.index}"
    if found.region is not None:
        where = f"[{', '.join(f'{part.start}:{part.stop}' for part in found.region)}]"
    text = (
        f"{found.bad_chunks} {'chunk' if found.bad_chunks == 1 else 'chunks'} within {where} "
        "could not be read, so the rows there have no answer (-1 for a label, NaN otherwise); "
        "repair the store and predict again"
    )
    if "distributed" not in sys.modules:  # then no worker runs this
        warnings.warn(text, UserWarning, stacklevel=2)
        return
    from distributed import warn

    warn(text, UserWarning, stacklevel=2)


def _asked(query: Query, chunk: Chunk) -> Query:
    """The query as the model answers it, which may see fewer features than there are."""
    if query.of_features is None or chunk.mapping is None:
        return query
    return replace(query, size=chunk.mapping.n_features)


def _undone(query: Query, answers: Array, chunk: Chunk) -> Array:
    """Answers of one number for each feature of the data, in their units; others as they are.

    Of features that the model does not see, it is said what is stored.
    """
    if query.of_features is None or chunk.mapping is None:
        return answers
    survivors = list(chunk.mapping.survivors)
    if query.of_features == "deviations":
        undone = chunk.mapping.undo_deviation(answers)
    else:
        undone = chunk.mapping.undo(answers)
    if chunk.stored is None or query.of_features == "values":
        return undone
    given = np.isnan(chunk.block.values)
    filled = np.isnan(chunk.stored)
    filled[:, survivors] = given
    rest = chunk.stored if query.of_features == "filled" else np.zeros((), undone.dtype)
    whole = np.where(filled, undone, rest)
    whole[np.isnan(answers).all(axis=1)] = np.nan  # rows that were left out
    return whole


def _shape(region: Region) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in region)


def _inside(part: Region, whole: Region) -> Region:
    """A part of a region, counted from where the region begins."""
    return tuple(
        slice(mine.start - cell.start, mine.stop - cell.start)
        for mine, cell in zip(part, whole, strict=True)
    )
