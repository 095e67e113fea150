"""Promise: what a fit will read, hold and take, told before it is run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dask_em.engine.plan import readable_bytes
from dask_em.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["PASSES", "Promise", "expected_passes"]

#: full passes to 1e-6 nats per row of the optimum, the fewest and the most on a suite of
#: overlapping mixtures of 400,000 rows (tests/benchmarks/passes.py). Fewer where components are
#: far apart, more where the optimum is flat or the sample small for the number of parameters.
#: In closed form it is one, or two where the rows are far from those that were looked at.
PASSES = {"closed": (1, 2), "accelerated": (3, 8), "extrapolated": (3, 150), "em": (30, 1000)}


@dataclass(frozen=True)
class Promise:
    """What a fit will cost. Bytes and tasks are kept; passes and seconds are expected.

    Parameters
    ----------
    describe : str
        The source in words.
    n_rows : int, or None
        Before any is dropped; None where the source does not know.
    n_features : int
    n_chunks : int
        Chunks that a pass reads.
    chunk_bytes : int
        Decoded bytes of the largest chunk.
    n_partitions : int
        Runs of chunks whose sums are merged; they depend on the data alone.
    n_tasks : int
        Tasks of a pass.
    nbytes : int, or None
        Decoded bytes of a pass, as in `PassRecord`.
    stored_bytes : int, or None
        Bytes on disk, where the store tells them cheaply.
    n_workers, n_threads, threads_used : int
        Processes, their threads, and how many of these have a task.
    worker_memory : int, or None
        Limit of the smallest worker, bytes.
    task_bytes : int
        Peak of one task, bytes.
    worker_bytes : int
        Peak of the work on one worker, bytes, on top of what its process takes at rest.
    client_bytes : int
        Peak of the sample, statistics and parameters where the fit is called, bytes.
    cached_bytes : int
        Decoded bytes that a cache spares the passes after the first, over all workers.
    algorithm : str
        "accelerated", "extrapolated" (the same for a model that says nothing of its geometry) or
        "em", or "closed" where the optimum follows from one pass.
    n_passes : tuple of int
        The fewest and the most passes that are expected, the first one included.
    seconds : float, or None
        Of a pass that reads all, wall time, by a probe.
    later_seconds : float, or None
        Of a pass that finds `cached_bytes` in the cache.
    read_seconds, compute_seconds : float, or None
        Of a pass that reads all, summed over tasks, as in `PassRecord`.
    probed_bytes : int
        Decoded bytes that the probe read; 0 if there was none.
    unmeasured : str, or None
        Why there are no seconds.
    """

    describe: str
    n_rows: int | None
    n_features: int
    n_chunks: int
    chunk_bytes: int
    n_partitions: int
    n_tasks: int
    nbytes: int | None
    stored_bytes: int | None
    n_workers: int
    n_threads: int
    threads_used: int
    worker_memory: int | None
    task_bytes: int
    worker_bytes: int
    client_bytes: int
    cached_bytes: int
    algorithm: str
    n_passes: tuple[int, int]
    seconds: float | None = None
    later_seconds: float | None = None
    read_seconds: float | None = None
    compute_seconds: float | None = None
    probed_bytes: int = 0
    unmeasured: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields by their names, numbers and strings alone."""
        return {**asdict(self), "n_passes": list(self.n_passes)}

    def lines(self) -> dict[str, str]:
        """The promise in words, by subject."""
        return {
            "data": f"{self.describe}: {self._rows()} of {_plural(self.n_features, 'feature')}",
            "reading": self._reading(),
            "chunks": f"{self.n_chunks:,} of at most {readable_bytes(self.chunk_bytes)}, in "
            f"{_plural(self.n_partitions, 'partition')}",
            "tasks": f"{self.n_tasks:,} a pass, on {self.threads_used:,} of "
            f"{_plural(self.n_threads, 'thread')} of {_plural(self.n_workers, 'process', 'es')}",
            "memory": self._memory(),
            "passes": f"{_range(*(f'{n:,}' for n in self.n_passes))} expected ({self.algorithm})",
            **self._times(),
        }

    def __str__(self) -> str:
        return "\n".join(f"{subject:<8} {words}" for subject, words in self.lines().items())

    def __rich__(self) -> Table:
        """The same as a table of rich."""
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        for subject, words in self.lines().items():
            table.add_row(subject, Text(words))  # brackets in a path are no markup
        return table

    def _rows(self) -> str:
        return "an unknown number of rows" if self.n_rows is None else _plural(self.n_rows, "row")

    def _reading(self) -> str:
        decoded = "unknown bytes" if self.nbytes is None else readable_bytes(self.nbytes)
        stored = self.stored_bytes
        return (
            f"{decoded} decoded a pass"
            + ("" if stored is None else f", {readable_bytes(stored)} stored")
            + self._cached(f", {readable_bytes(self.cached_bytes)} of them once, then cached")
        )

    def _memory(self) -> str:
        limit = self.worker_memory
        return (
            f"at most {readable_bytes(self.task_bytes)} for a task, "
            f"{readable_bytes(self.worker_bytes)} for the work of a process"
            + ("" if limit is None else f" of {readable_bytes(limit)}")
            + f", {readable_bytes(self.client_bytes)} where the fit is called"
        )

    def _times(self) -> dict[str, str]:
        if self.seconds is None or self.read_seconds is None or self.compute_seconds is None:
            return {"time": f"unknown: {self.unmeasured}"}
        later = self.later_seconds or self.seconds
        fewest, most = (_duration(self.seconds + (n - 1) * later) for n in self.n_passes)
        return {
            "time": f"{_duration(self.seconds)} a pass"
            + self._cached(f", {_duration(later)} after the first")
            + f", {_range(fewest, most)} in all",
            "probe": f"of {readable_bytes(self.probed_bytes)}; by it the tasks of a pass read "
            f"{_duration(self.read_seconds)} and compute {_duration(self.compute_seconds)}, side "
            "by side",
        }

    def _cached(self, words: str) -> str:
        return words if self.cached_bytes else ""


def expected_passes(algorithm: str, max_iter: int | None = None) -> tuple[int, int]:
    """The fewest and the most passes of a fit, at most one more than `max_iter`.

    Raises
    ------
    InputError
        If there is no such algorithm.
    """
    if algorithm not in PASSES:
        raise InputError(f'algorithm={algorithm!r}; it must be "auto", "accelerated" or "em"')
    low, high = PASSES[algorithm]
    return (low, high) if max_iter is None else (min(low, max_iter + 1), min(high, max_iter + 1))


def _plural(number: int, noun: str, ending: str = "s") -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{ending}"


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
