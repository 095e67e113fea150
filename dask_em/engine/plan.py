"""Plan: how a pass is cut into tasks, and the memory that it promises to keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from dask_em.engine.reduce import leaves
from dask_em.engine.source import Partition, Schema, Source
from dask_em.engine.stream import BLOCK_BYTES
from dask_em.errors import DataError, PlanError

__all__ = [
    "SUMS",
    "SUMS_OF_A_TASK",
    "Plan",
    "Resources",
    "readable_bytes",
    "sums_bytes",
    "usable_bytes",
]

#: share of a worker's memory that the tasks may use; the rest is Python, libraries and their slack
USABLE = 0.6
#: from this share on Dask pauses a worker, and what it waits for may never come
PAUSED = 0.8
#: what allocators keep of freed blocks for the threads that read and decode (measured 60 to 90 MB)
KEPT_BYTES = 64 << 20
#: a block that is computed, and one that is gathered from what was read
BLOCKS_HELD = 2
#: a block that is read, as it is stored and as it is decoded
BLOCKS_OF_A_READ = 2
#: of a task that reads one block ahead
BLOCKS_IN_FLIGHT = BLOCKS_HELD + BLOCKS_OF_A_READ
#: what a row takes beside its values: its position and hash in the first pass
ROW_BYTES = 32
#: what a worker takes when it has loaded the libraries of its first task (measured 231 MB)
BASELINE = 250_000_000
#: copies of statistics and parameters: of a task, and where eight tasks' sums are merged
SUMS_OF_A_TASK, SUMS_OF_A_MERGE = 4, 10
#: what they are called
SUMS = "the model's sums"
#: a task below this is not worth the scheduler's time
TASK_BYTES = 256 << 20
#: nor one below this for the sake of threads that end together
EVEN_BYTES = 64 << 20
#: sources read smaller chunks together up to this, so that chunks below it save no memory
JOINED_BYTES = 16 << 20
#: tasks of which it is kept that they are done: so much is lost with one, and there are at most
KEPT_TASK_BYTES, MOST_KEPT_TASKS = 256 << 20, 4096


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
        Peak memory of the tasks of one worker, and what allocators keep of it, bytes.
    nbytes : int, or None
        Decoded bytes of a pass, weights included; None where the number of rows is not known.
    reads_at_once : int
        How many chunks a task reads at a time; follows the memory and changes no bit.
    """

    n_leaves: int
    n_tasks: int
    task_bytes: int
    worker_bytes: int
    nbytes: int | None
    reads_at_once: int = 1

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
        n_leaves, reads = len(leaves(schema.n_chunks)), _reads_at_once(source, resources)
        plan = cls(
            n_leaves,
            _n_tasks(n_leaves, schema.nbytes, resources),
            _task_bytes(source, reads),
            _worker_bytes(source, reads, resources),
            None if schema.n_rows is None else schema.n_rows * _row_bytes(schema),
            reads,
        )
        plan._check(resources, schema)
        return plan

    def _check(self, resources: Resources, schema: Schema) -> None:
        memory = resources.worker_memory
        if memory is None or self.worker_bytes <= usable_bytes(memory):
            return
        raise PlanError(
            f"a task needs {readable_bytes(self.task_bytes)} ({BLOCKS_IN_FLIGHT} blocks of "
            f"{readable_bytes(schema.chunk_bytes)} and what goes with them) and a worker runs "
            f"{resources.threads_per_worker} at a time, but {readable_bytes(usable_bytes(memory))} "
            f"of its {readable_bytes(memory)} may be used; "
            + _remedy(self.worker_bytes, self.task_bytes, resources, schema)
        )

    def check_also(self, also: int, what: str, resources: Resources, schema: Schema) -> None:
        """Refuse what a worker needs beside its tasks.

        Parameters
        ----------
        also : int
            Bytes.
        what : str
            What they are, in words.

        Raises
        ------
        PlanError
            If tasks and the rest together cannot fit into a worker's memory.
        """
        memory, wanted = resources.worker_memory, self.worker_bytes + also
        if memory is None or wanted <= usable_bytes(memory):
            return
        raise PlanError(
            f"the tasks of a worker need {readable_bytes(self.worker_bytes)} and {what} "
            f"{readable_bytes(also)}, but {readable_bytes(usable_bytes(memory))} of its "
            f"{readable_bytes(memory)} may be used; "
            + _remedy(wanted, self.task_bytes, resources, schema)
        )

    def n_kept_tasks(self, schema: Schema) -> int:
        """How many tasks it takes that little is lost with one: no fewer, and a power of two."""
        nbytes = self.nbytes or schema.n_chunks * schema.chunk_bytes
        wanted = min(-(-nbytes // KEPT_TASK_BYTES), schema.n_chunks, MOST_KEPT_TASKS)
        n_tasks = self.n_tasks
        while n_tasks < wanted:
            n_tasks *= 2
        return n_tasks

    def cut_into(self, n_tasks: int) -> Plan:
        """The plan with so many tasks, a power of two, for a pass in which nothing is summed."""
        return replace(self, n_leaves=max(self.n_leaves, n_tasks), n_tasks=n_tasks)

    def partitions(self, source: Source) -> list[list[Partition]]:
        """For each task its leaves, in order."""
        runs = [source.partition(run) for run in leaves(source.schema.n_chunks, self.n_leaves)]
        if self.reads_at_once < source.reads_at_once:
            runs = [replace(run, reads_at_once=self.reads_at_once) for run in runs]
        width = self.n_leaves // self.n_tasks
        return [runs[start : start + width] for start in range(0, self.n_leaves, width)]


def _reads_at_once(source: Source, resources: Resources) -> int:
    """As many as the source wants, while half of a worker's room is left for the rest."""
    reads, memory = source.reads_at_once, resources.worker_memory
    if memory is not None:
        while reads > 1 and 2 * _worker_bytes(source, reads, resources) > usable_bytes(memory):
            reads -= 1
    return reads


def _worker_bytes(source: Source, reads: int, resources: Resources) -> int:
    kept = 0 if source.local else KEPT_BYTES
    return _task_bytes(source, reads) * resources.threads_per_worker + kept


def _task_bytes(source: Source, reads: int) -> int:
    """Peak memory of a task that reads so many chunks at a time, bytes."""
    schema = source.schema
    block = max(schema.chunk_bytes, min(BLOCK_BYTES, schema.nbytes or BLOCK_BYTES))
    rows = schema.chunk_bytes // (schema.n_features * schema.dtype.itemsize)
    in_flight = 1 if source.local else BLOCKS_HELD + BLOCKS_OF_A_READ * reads
    return in_flight * (block + ROW_BYTES * rows) + reads * schema.decoding_bytes


def sums_bytes(values: int, threads: int) -> int:
    """Peak bytes on a worker of so many threads, of sums and parameters of so many bytes."""
    return (SUMS_OF_A_TASK * threads + SUMS_OF_A_MERGE) * values


def usable_bytes(worker_memory: int) -> int:
    """How much of a worker's memory the work may take, bytes."""
    return max(0, min(int(USABLE * worker_memory), int(PAUSED * worker_memory) - BASELINE))


def _remedy(wanted: int, task_bytes: int, resources: Resources, schema: Schema) -> str:
    """What would make `wanted` bytes of a worker fit, the cheapest first."""
    usable, threads = usable_bytes(resources.worker_memory or 0), resources.threads_per_worker
    rest = wanted - threads * task_bytes
    fewer, room = (usable - rest) // task_bytes, (usable - rest) // threads
    remedies = []
    if fewer >= 1:
        some = "1 thread" if fewer == 1 else f"{fewer} threads"
        remedies.append(f"run {some} per worker (--threads {fewer})")
    # rounded up: what is proposed must be enough
    megabytes = 1 + max(int(wanted / USABLE), int((wanted + BASELINE) / PAUSED)) // 1_000_000
    remedies.append(
        f"give each worker {readable_bytes(megabytes * 1_000_000)} (--memory {megabytes}MB)"
    )
    # everything but what is decoded in passing grows with the chunk
    share = (room - schema.decoding_bytes) / max(1, task_bytes - schema.decoding_bytes)
    chunk = int(share * schema.chunk_bytes)
    if JOINED_BYTES <= chunk < schema.chunk_bytes:
        remedies.append(f"store the data in smaller chunks, of at most {readable_bytes(chunk)}")
    return ", or ".join(remedies)


def _row_bytes(schema: Schema) -> int:
    """Decoded bytes of a row; where chunks are known, they tell of its weight as well."""
    if schema.sample_chunks is not None:
        rows = prod(max(lengths, default=0) for lengths in schema.sample_chunks)
        if rows:
            return schema.chunk_bytes // rows
    return schema.n_features * schema.dtype.itemsize


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
