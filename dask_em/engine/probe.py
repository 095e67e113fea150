"""Probe: what reading and computing cost here, measured on a few chunks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dask_em.core.model import Model
from dask_em.core.records import Parameters, Record
from dask_em.engine.look import Looking, look
from dask_em.engine.monitor import Monitor
from dask_em.engine.plan import Plan
from dask_em.engine.reduce import merge
from dask_em.engine.runner import ClusterRunner, Runner, SupportsFutures
from dask_em.engine.source import Partition, Source
from dask_em.engine.stream import Reading, stream
from dask_em.engine.task import Work, perform
from dask_em.engine.workers import workers_of
from dask_em.errors import ClusterError, InputError

__all__ = ["Measured", "Unmeasured", "n_workers", "probe"]

#: a thread ends its probe after so many seconds or so many decoded bytes
SECONDS = 1.0
NBYTES = 64 << 20
#: and reads so many runs of neighbouring chunks, spread over the source
RUNS = 4
#: rows on which the start is made, over all threads
START_ROWS = 1 << 14
NO_ROW = "the chunks that were looked at hold no row that could enter a fit"


@dataclass(frozen=True)
class Unmeasured:
    """A probe that found too few rows; the whole may hold enough."""

    reason: str


@dataclass(frozen=True)
class Cost:
    """What one block cost."""

    nbytes: int  # decoded
    read_seconds: float
    compute_seconds: float
    seconds: float | None  # since the block before was done; None for the first of a task


@dataclass(frozen=True)
class Measured:
    """The blocks of a probe and the sizes of what was computed. Two of them merge."""

    blocks: tuple[Cost, ...]
    model_bytes: int  # of the statistics, and of the parameters
    n_threads: int  # that worked at the same time

    def __add__(self, other: Measured) -> Measured:
        return Measured(
            self.blocks + other.blocks,
            max(self.model_bytes, other.model_bytes),
            self.n_threads + other.n_threads,
        )

    @property
    def nbytes(self) -> int:
        """Decoded bytes that were read."""
        return sum(block.nbytes for block in self.blocks)

    @property
    def read_rate(self) -> float:
        """Seconds in which a thread reads a byte, other threads being at work too."""
        return self._rate(lambda block: block.read_seconds)

    @property
    def compute_rate(self) -> float:
        """Seconds in which a thread computes a byte, other threads being at work too."""
        return self._rate(lambda block: block.compute_seconds)

    @property
    def steady_rate(self) -> float:
        """Seconds in which a thread is done with a byte, reading and computing side by side."""
        alone = self.read_rate + self.compute_rate
        return self._rate(
            lambda block: alone * block.nbytes if block.seconds is None else block.seconds
        )

    def pass_seconds(self, plan: Plan, nbytes: int) -> float:
        """Wall seconds of a pass over decoded bytes."""
        task_bytes = nbytes / plan.n_tasks
        first = min(task_bytes, self.nbytes / len(self.blocks))  # nothing to compute meanwhile
        task = first * (self.read_rate + self.compute_rate)
        task += (task_bytes - first) * self.steady_rate
        return -(-plan.n_tasks // self.n_threads) * task

    def _rate(self, seconds: Callable[[Cost], float]) -> float:
        # the first block of a task also pays for imports and for opening the store
        later = [block for block in self.blocks if block.seconds is not None] or self.blocks
        return sum(map(seconds, later)) / max(1, sum(block.nbytes for block in later))


@dataclass(frozen=True)
class Probing:
    """What the tasks of a probe share."""

    model: Model[Any, Any]
    parameters: Parameters
    reading: Reading


def probe(
    model: Model[Any, Any],
    source: Source,
    plan: Plan,
    runner: Runner,
    reading: Reading,
    start: Parameters | None = None,
) -> Measured | Unmeasured:
    """Read and compute a few chunks with the model's own E-step, a task on each thread at once.

    Parameters
    ----------
    start : Parameters, optional
        Where the E-step is made; by default the model's own start on rows of a few chunks.

    Raises
    ------
    DataError
        If a value is not admitted.
    ChunkError
        If a chunk cannot be read and bad chunks are not skipped.
    ClusterError
        If the probe does not come to an end on the cluster.
    """
    n_threads = min(runner.resources.n_threads, plan.n_tasks)
    runs = _runs(source.schema.n_chunks, source.schema.chunk_bytes, n_threads)
    if start is None:
        looking = Looking(reading, -(-START_ROWS // n_threads))
        # in the middle of what is not measured: a file that was just read is read faster
        items = [[source.partition(_between(part[0]))] if part else [] for part in runs]
        looked = _at_once(runner, look, items, looking)
        if looked is None or not len(looked.rows):
            return Unmeasured(NO_ROW)
        # a start may fail on a few rows where it succeeds on more
        try:
            start = model.initialize(looked.rows, np.random.default_rng(0))
        except InputError as error:
            return Unmeasured(f"no start on {len(looked.rows):,} rows of a few chunks ({error})")
    items = [[source.partition(run) for run, _ in part] for part in runs]
    measured = _at_once(runner, measure, items, Probing(model, start, reading))
    return measured if isinstance(measured, Measured) else Unmeasured(NO_ROW)


def measure(
    leaves: Sequence[Partition], probing: Probing, stopped: Callable[[], bool]
) -> Measured | None:
    """What the blocks of some leaves cost, until that is enough."""
    blocks: list[Cost] = []
    model_bytes, before, begin = 0, None, time.perf_counter()
    with closing(stream(leaves, probing.reading)) as pieces:
        for _, piece in pieces:
            if stopped():
                raise InterruptedError("the probe was stopped")
            came = time.perf_counter()
            statistics = probing.model.expect(piece.block, probing.parameters)
            now = time.perf_counter()
            model_bytes = _record_bytes(statistics) + _record_bytes(probing.parameters)
            tally, since = piece.tally, None if before is None else now - before
            blocks.append(Cost(tally.nbytes, tally.read_seconds, now - came, since))
            begin, before = begin if len(blocks) > 1 else came, now
            if now - begin > SECONDS or sum(block.nbytes for block in blocks) >= NBYTES:
                break
    return Measured(tuple(blocks), model_bytes, 1) if blocks else None


def _record_bytes(record: Record) -> int:
    """Bytes of the arrays of a record."""
    return sum(int(array.nbytes) for array in record.flatten()[1].values())


def _runs(n_chunks: int, chunk_bytes: int, n_threads: int) -> list[list[tuple[range, range]]]:
    """For each thread some runs of chunks, each with the gap that follows it."""
    wanted = RUNS * n_threads
    starts = sorted({n_chunks * i // wanted for i in range(wanted)})
    length = max(1, NBYTES // RUNS // max(1, chunk_bytes))
    runs = [
        (range(start, min(start + length, stop)), range(min(start + length, stop), stop))
        for start, stop in pairwise([*starts, n_chunks])
    ]
    return [runs[i::n_threads] for i in range(n_threads)]


def _between(run: tuple[range, range]) -> range:
    """One chunk that is not measured, if there is one behind the run."""
    measured, gap = run
    middle = gap[len(gap) // 2] if gap else measured[0]
    return range(middle, middle + 1)


def _at_once(runner: Runner, work: Work, items: list[list[Partition]], shared: Any) -> Any:
    """The merged results of items, each in a thread of its own."""
    if isinstance(runner, ClusterRunner):
        return _on_cluster(runner, work, items, shared)
    n_items = 1 << (len(items) - 1).bit_length()
    padded = items + [[] for _ in range(n_items - len(items))]
    return runner.reduce("em-probe", work, padded, shared, Monitor())


def _on_cluster(
    runner: ClusterRunner, work: Work, items: list[list[Partition]], shared: Any
) -> Any:
    from distributed import wait
    from distributed.scheduler import KilledWorker

    client, token = runner.client, uuid.uuid4().hex[:12]
    # a pass leaves it to the scheduler which worker takes a task; here each thread is to have one
    held = [f for item in items for leaf in item if isinstance(leaf, SupportsFutures)
            for f in leaf.futures()]  # fmt: skip
    wait(held)
    common = client.submit(_same, shared, key=f"em-parameters-{token}", pure=False)
    futures = [common] + [
        client.submit(
            perform, work, item, common, key=f"em-probe-{token}-{i}", pure=False,
            workers=[slot], allow_other_workers=True,
        )
        for i, (item, slot) in enumerate(zip(items, _slots(runner), strict=False))
    ]  # fmt: skip
    try:
        wait(futures, timeout=runner.timeout)
        parts = client.gather(futures[1:])
    except (TimeoutError, KilledWorker) as error:
        raise ClusterError(
            f"the probe did not end within {runner.timeout:g} s or lost its worker "
            f"({type(error).__name__}: {error}); look at the workers' logs, or plan without a "
            "probe (probe=False)"
        ) from error
    finally:
        client.cancel(futures)
    return merge(*parts, *[None] * ((1 << (len(parts) - 1).bit_length()) - len(parts)))


def n_workers(runner: Runner) -> int:
    """Processes that work."""
    return len(set(_slots(runner))) if isinstance(runner, ClusterRunner) else 1


def _slots(runner: ClusterRunner) -> list[str]:
    """The address of the worker of each thread, neighbours on different workers."""
    workers = workers_of(runner.client)
    slots = [
        (thread, address)
        for address, worker in workers.items()
        for thread in range(worker["nthreads"])
    ]
    return [address for _, address in sorted(slots)]


def _same(shared: Any) -> Any:
    return shared
