"""Plan: how a pass is cut into tasks, and the memory that it promises to keep."""

from __future__ import annotations

from dataclasses import dataclass

from dask_em.engine.reduce import leaves
from dask_em.engine.source import Partition, Source
from dask_em.engine.stream import BLOCK_BYTES
from dask_em.errors import DataError, PlanError

__all__ = ["Plan", "Resources", "readable_bytes"]

#: share of a worker's memory that the tasks may use; the rest is Python, libraries and their slack
USABLE = 0.6
#: a block that is computed, one that was read ahead, and the decoding of a third
BLOCKS_IN_FLIGHT = 4
#: what a row takes beside its values: its position and hash in the first pass
ROW_BYTES = 32
#: what a worker takes before it does anything
BASELINE = 150_000_000
#: a task below this is not worth the scheduler's time
TASK_BYTES = 256 << 20
#: nor one below this for the sake of threads that end together
EVEN_BYTES = 64 << 20


@dataclass(frozen=True)
class Resources:
    """What the work runs on. With workers of several sizes, the smallest counts."""

    n_threads: int  # over all workers
    threads_per_worker: int
    worker_memory: int | None  # bytes; None where there is no limit


@dataclass(frozen=True)
class Plan:
    """Leaves, tasks and bytes of a pass.

    Parameters
    ----------
    n_leaves : int
        Runs of chunks, a power of two that the data alone decide.
    n_tasks : int
        Aligned groups of leaves; follows the cluster and changes no bit.
    task_bytes : int
        Peak memory of one task, bytes.
    worker_bytes : int
        Peak memory of the tasks of one worker, bytes.
    """

    n_leaves: int
    n_tasks: int
    task_bytes: int
    worker_bytes: int

    @classmethod
    def make(cls, source: Source, resources: Resources) -> Plan:
        """The plan of a pass.

        Raises
        ------
        DataError
            If there are no chunks.
        PlanError
            If the tasks cannot fit into a worker's memory.
        """
        schema = source.schema
        if not schema.n_chunks:
            raise DataError(f"{schema.describe} holds no rows; nothing can be fitted to it")
        block = max(schema.chunk_bytes, min(BLOCK_BYTES, schema.nbytes or BLOCK_BYTES))
        in_flight = 1 if source.local else BLOCKS_IN_FLIGHT
        n_leaves = len(leaves(schema.n_chunks))
        rows = schema.chunk_bytes // (schema.n_features * schema.dtype.itemsize)
        block += ROW_BYTES * rows
        task_bytes = in_flight * block + schema.decoding_bytes
        plan = cls(
            n_leaves,
            _n_tasks(n_leaves, schema.nbytes, resources),
            task_bytes,
            task_bytes * resources.threads_per_worker,
        )
        plan._check(resources, schema.chunk_bytes)
        return plan

    def _check(self, resources: Resources, chunk_bytes: int) -> None:
        if resources.worker_memory is None:
            return
        memory = resources.worker_memory
        usable = max(0, min(int(USABLE * memory), memory - BASELINE))
        wanted = max(self.worker_bytes / USABLE, self.worker_bytes + BASELINE)
        if self.worker_bytes > usable:
            raise PlanError(
                f"a task needs {readable_bytes(self.task_bytes)} ({BLOCKS_IN_FLIGHT} blocks of "
                f"{readable_bytes(chunk_bytes)} and what goes with them) and a worker runs "
                f"{resources.threads_per_worker} at a time, but {readable_bytes(usable)} of its "
                f"{readable_bytes(resources.worker_memory)} may be used; give each worker "
                f"{readable_bytes(wanted)}, run fewer threads per "
                "worker, or store the data in smaller chunks"
            )

    def partitions(self, source: Source) -> list[list[Partition]]:
        """For each task its leaves, in order."""
        runs = [source.partition(run) for run in leaves(source.schema.n_chunks)]
        width = self.n_leaves // self.n_tasks
        return [runs[start : start + width] for start in range(0, self.n_leaves, width)]


def _n_tasks(n_leaves: int, nbytes: int | None, resources: Resources) -> int:
    """A power of two: a few per thread, none too small to be worth scheduling."""
    threads = resources.n_threads
    wanted = max(16, 3 * threads)
    if nbytes is not None:
        # tasks that end together want to be many, and few where each waits for its first block
        large, even = nbytes // TASK_BYTES, min(4 * threads, nbytes // EVEN_BYTES)
        wanted = max(min(wanted, max(large, even)), min(threads, nbytes >> 20), 1)
    n_tasks = 1
    while n_tasks < min(wanted, n_leaves):
        n_tasks *= 2
    return n_tasks


def readable_bytes(n: float) -> str:
    """Bytes in the unit that reads best, e.g. ``"1.5 GB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"
