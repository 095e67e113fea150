"""Answers for every row, written region by region; with a ledger it is kept which are done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dask_em.core.records import Array
from dask_em.engine.monitor import Monitor
from dask_em.engine.plan import Plan
from dask_em.engine.predict import Prediction
from dask_em.engine.readable import Readable, readable_ahead
from dask_em.engine.runner import choose_runner
from dask_em.engine.source import Partition, Source
from dask_em.engine.stream import Tally

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.engine.done import Done
    from dask_em.engine.ledger import Ledger

__all__ = ["Output", "Writer", "retold", "write"]

#: keeps the answers to each query for one chunk
Writer: TypeAlias = Callable[[Readable, tuple[Array, ...]], None]


class Output(ABC):
    """Where the answers of a writing pass go; small and picklable."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Writer]:
        """What one task keeps its answers with, called for each of its chunks, in order.

        When the context ends all of them are written.
        """

    def partitions(self, source: Source, plan: Plan) -> list[list[Partition]]:
        """For each task its leaves. What different tasks write must not touch."""
        return plan.partitions(source)


@dataclass(frozen=True)
class _Writing:
    """What the tasks of a writing pass share."""

    prediction: Prediction
    output: Output
    done: Done | None


def write(
    source: Source,
    prediction: Prediction,
    output: Output,
    *,
    client: Client | None = None,
    monitor: Monitor | None = None,
    ledger: Ledger | None = None,
) -> Tally:
    """Answer queries for every row, reading once, and write the answers region by region.

    Parameters
    ----------
    output : Output
        For the answers to all queries, in their order.
    monitor : Monitor, optional
        Told how many tasks there are, and of each that has ended; also of those that a ledger
        knows to be done.
    ledger : Ledger, optional
        What is written already, and is not written again. There are more and smaller tasks.

    Raises
    ------
    DataError, ChunkError, PlanError, ClusterError
        As in `fit`.
    ArchiveError
        If the ledger cannot be written.
    """
    monitor = monitor or Monitor()
    if ledger is not None and ledger.is_written:
        return retold(ledger, monitor)
    runner = choose_runner(source, client)
    plan = Plan.make(source, runner.resources)
    if ledger is not None:
        plan = plan.cut_into(ledger.begin(plan.n_kept_tasks(source.schema)))
    monitor.begin("predict", 0, plan.n_tasks)
    tasks = output.partitions(source, plan)
    done = None if ledger is None else ledger.done
    items = tasks if done is None else _left_over(tasks, done)
    writing = _Writing(prediction, output, done)
    tally = runner.reduce("em-predict", _write_leaves, items, writing, monitor) or Tally()
    if ledger is not None:
        ledger.written(tally)
    return tally


def retold(ledger: Ledger, monitor: Monitor) -> Tally:
    """The tally of tasks that are all done, each of which the monitor is told of."""
    monitor.begin("predict", 0, ledger.n_tasks)
    for _ in range(ledger.n_tasks):
        monitor.advance()
    return ledger.tally


def _left_over(tasks: Sequence[list[Partition]], done: Done) -> list[list[Partition] | Tally]:
    """The tasks, and for those that are done their tallies: there must be a power of two of all."""
    return [
        leaves if tally is None else tally
        for leaves, tally in zip(tasks, done.among(tasks), strict=True)
    ]


def _write_leaves(
    leaves: list[Partition] | Tally, writing: _Writing, stopped: Callable[[], bool]
) -> Tally:
    if isinstance(leaves, Tally):
        return leaves
    done = writing.done
    # a task is run again where its worker was lost after it had ended
    found = None if done is None else done.of(leaves)
    if found is not None:
        return found
    total = Tally()
    with writing.output.writing() as write:
        for readable in readable_ahead(leaves, writing.prediction.reading):
            if stopped():
                raise InterruptedError("the pass was stopped")
            write(readable, writing.prediction.answers(readable))
            total = total + readable.tally
    if done is not None:
        done.keep(leaves, total)
    return total
