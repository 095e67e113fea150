"""Posteriors, labels and densities of rows: at once, lazily, or written region by region."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from dask_em.core.block import Block, Missing
from dask_em.core.model import SupportsPosterior
from dask_em.core.records import Array
from dask_em.engine.limits import one_blas_thread
from dask_em.engine.monitor import Monitor
from dask_em.engine.plan import Plan
from dask_em.engine.runner import choose_runner
from dask_em.engine.source import Chunk, Partition, Region, Source
from dask_em.engine.stream import Tally, read_ahead
from dask_em.errors import SchemaError

if TYPE_CHECKING:
    import dask.array
    from distributed import Client

__all__ = [
    "Label", "LogDensity", "Output", "Prediction", "Probability", "Query", "lazily", "now", "write"
]  # fmt: skip


#: rows that are asked at a time
ASKED_ROWS = 1 << 14


@dataclass(frozen=True)
class Query(ABC):
    """What is asked of each row."""

    model: SupportsPosterior[Any]
    parameters: Any
    floats: np.dtype  # of answers that are no labels

    #: stands where a row was left out because it holds NaN
    absent: ClassVar[float]

    @abstractmethod
    def ask(self, block: Block) -> Array:
        """The answer for each row of a block: (n,) or (n, columns)."""

    @property
    def dtype(self) -> np.dtype:
        """Of the answer."""
        return self.floats

    @property
    def columns(self) -> int | None:
        """How many numbers a row gets; None for one, without an axis of its own."""
        return None


@dataclass(frozen=True)
class Label(Query):
    """The most probable component; -1 for a row that holds NaN."""

    absent = -1

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.int64)

    def ask(self, block: Block) -> Array:
        responsibilities, _ = self.model.posterior(block, self.parameters)
        return np.asarray(responsibilities.argmax(axis=1))


@dataclass(frozen=True)
class Probability(Query):
    """The posterior probability of each component."""

    absent = np.nan

    def ask(self, block: Block) -> Array:
        return self.model.posterior(block, self.parameters)[0]

    @property
    def columns(self) -> int | None:
        return int(self.parameters.k)


@dataclass(frozen=True)
class LogDensity(Query):
    """The log-density of the row, nats."""

    absent = np.nan

    def ask(self, block: Block) -> Array:
        return self.model.posterior(block, self.parameters)[1]


@dataclass(frozen=True)
class Prediction:
    """A query and the policy on rows that cannot answer it."""

    query: Query
    missing: Missing

    def answer(self, chunk: Chunk) -> Array:
        """The answers for all rows of a chunk, those that were left out marked `absent`."""
        query, whole = self.query, chunk.block
        block = self.missing.apply(whole, chunk.name)
        found = _in_parts(query, block)
        if len(block) == len(whole):
            return found.astype(query.dtype, copy=False)
        answers = np.full((len(whole), *found.shape[1:]), query.absent, query.dtype)
        answers[whole.observed()] = found
        return answers

    def answer_in_shape(self, chunk: Chunk) -> Array:
        """`answer`, in the shape of the chunk's region."""
        answers = self.answer(chunk)
        if chunk.region is None:
            return answers
        shape = tuple(part.stop - part.start for part in chunk.region)
        return answers.reshape(*shape, *answers.shape[1:])


def now(source: Source, prediction: Prediction) -> Array:
    """Answers for a source in this process's memory, in the shape of its samples."""
    query, schema = prediction.query, source.schema
    if schema.sample_shape is None:
        raise AssertionError("the shape of rows in memory is known")
    trailing = () if query.columns is None else (query.columns,)
    answers = np.empty((*schema.sample_shape, *trailing), query.dtype)
    partition = source.partition(range(schema.n_chunks))
    with one_blas_thread():
        reader = partition.open()
        for index in partition.chunks:
            chunk = reader(index)
            assert chunk.region is not None
            answers[chunk.region] = prediction.answer_in_shape(chunk)
    return answers


def lazily(source: Source, prediction: Prediction) -> dask.array.Array:
    """Answers as a dask array with the source's sample chunks; nothing is read yet."""
    import dask.array

    schema, query = source.schema, prediction.query
    chunks = schema.sample_chunks
    if chunks is None:
        raise SchemaError(
            f"the chunks of {schema.describe} have no known lengths, so answers cannot be laid "
            "out; call compute_chunk_sizes() on the array first"
        )
    chunks = tuple(axis or (0,) for axis in chunks)  # dask has no axis without chunks
    columns = query.columns
    trailing: tuple[tuple[int, ...], ...] = () if columns is None else ((columns,),)
    name = f"em-predict-{uuid.uuid4().hex}"
    shape = tuple(len(axis) for axis in chunks)
    last = () if columns is None else (0,)
    query_key = f"{name}-query"  # in the graph once: it holds the parameters
    graph: dict[Any, Any] = {query_key: prediction}
    for index, cell in enumerate(np.ndindex(*shape)):
        part = source.partition(range(index, index + 1))
        graph[(name, *cell, *last)] = (_cell, part, query_key)
    return dask.array.Array(graph, name, (*chunks, *trailing), dtype=query.dtype)


def _in_parts(query: Query, block: Block) -> Array:
    """The answers part by part: what they come from takes k numbers a row."""
    if len(block) <= ASKED_ROWS:
        return query.ask(block)
    starts = range(0, len(block), ASKED_ROWS)
    return np.concatenate(
        [query.ask(block.take(slice(start, start + ASKED_ROWS))) for start in starts]
    )


def _cell(partition: Partition, prediction: Prediction) -> Array:
    with one_blas_thread():
        return prediction.answer_in_shape(partition.open()(partition.chunks.start))


class Output(Protocol):
    """A store of the samples' shape; small and picklable."""

    def write(self, region: Region, values: Array) -> None:
        """Write one region. Regions of different tasks share no chunk of the store."""


@dataclass(frozen=True)
class _Writing:
    """What the tasks of a writing pass share."""

    outputs: tuple[tuple[Prediction, Output], ...]


def write(
    source: Source,
    outputs: tuple[tuple[Prediction, Output], ...],
    *,
    client: Client | None = None,
    monitor: Monitor | None = None,
) -> Tally:
    """Answer queries for every row, reading once, and write the answers region by region.

    Raises
    ------
    DataError, ChunkError, PlanError, ClusterError
        As in `fit`.
    """
    runner, monitor = choose_runner(source, client), monitor or Monitor()
    plan = Plan.make(source, runner.resources)
    monitor.begin("predict", 0, plan.n_tasks)
    tally = runner.reduce(
        "em-predict", _write_leaves, plan.partitions(source), _Writing(outputs), monitor
    )
    return tally or Tally()


def _write_leaves(leaves: list[Partition], writing: _Writing, stopped: Callable[[], bool]) -> Tally:
    total = Tally()
    for chunk in read_ahead(leaves):
        if stopped():
            raise InterruptedError("the pass was stopped")
        assert chunk.region is not None
        for prediction, output in writing.outputs:
            output.write(chunk.region, prediction.answer_in_shape(chunk))
        total = total + Tally(rows=len(chunk.block), nbytes=chunk.block.nbytes)
    return total
