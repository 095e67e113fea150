"""Wall time, bytes and memory of a fit to data far larger than memory: few passes and plain EM.

    python -m tests.benchmarks.outofcore --size 16GB --workers 2 --memory 1GB
    python -m tests.benchmarks.outofcore --plain full         plain EM is run to the end

The store is a planted mixture whose components overlap, float32 in zstd, made once and kept. Both
algorithms start from the same parameters. `--plain sample`, the default, does not run plain EM to
the end, which may take days: its seconds are those of a few of its passes, times the passes that
it needs in memory on a sample of the rows to come as near to the sample's optimum as the
accelerated fit came to the data's. Memory is each process's peak resident set as the kernel counts
it, counted anew for each fit.
"""

from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import dask
import numpy as np
import zarr
from dask.utils import format_bytes, parse_bytes
from distributed import Client, LocalCluster
from rich.console import Console
from rich.table import Table

from dask_em import Gaussian, Mixture, Stopping, fit
from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.fit import Fitted
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.models.mixture import MixtureParameters
from dask_em.models.seeding import KMeans
from tests.benchmarks.memory import events, peak
from tests.benchmarks.mixtures import random_factor
from tests.benchmarks.optimum import InMemory, optimum

#: of the planted centres, in standard deviations of a component: plain EM needs hundreds of passes
SPREAD = 0.6
#: rows on which the passes of plain EM are counted, and how many they may be
COUNTED_ROWS, MOST_COUNTED = 1 << 18, 3000


@dataclass(frozen=True)
class Planted:
    """A mixture whose components overlap."""

    weights: Array  # (k,)
    means: Array  # (k, d)
    factors: Array  # (k, d, d) lower factors of the covariances

    @classmethod
    def draw(cls, d: int, k: int, rng: np.random.Generator) -> Planted:
        weights, means = rng.dirichlet(np.full(k, 4.0)), SPREAD * rng.normal(size=(k, d))
        return cls(weights, means, np.array([random_factor(d, rng) for _ in range(k)]))

    def rows(self, n: int, rng: np.random.Generator) -> Array:
        origin = rng.choice(len(self.weights), n, p=self.weights)
        rows = rng.normal(size=(n, self.means.shape[1]))
        for j, factor in enumerate(self.factors):
            own = origin == j
            rows[own] = self.means[j] + rows[own] @ factor.T
        return rows


@dataclass(frozen=True)
class Cost:
    """What a fit cost."""

    fitted: Fitted[MixtureParameters]
    seconds: float
    workers: list[float]  # peak, MB
    client: float  # peak, MB
    spilled: int  # bytes
    events: int  # pauses, restarts and lost workers

    @property
    def full(self) -> list[PassRecord]:
        """The passes that evaluated parameters."""
        return [record for record in self.fitted.history if record.objective is not None]

    @property
    def nbytes(self) -> int:
        """Decoded bytes of all passes."""
        return sum(record.nbytes for record in self.fitted.history)

    @property
    def pass_seconds(self) -> float:
        return median(record.seconds for record in self.full)


@dataclass(frozen=True)
class Lines(Monitor):
    """Prints a line for each pass."""

    name: str

    def end(self, record: PassRecord) -> None:
        told = "" if record.objective is None else f"{record.objective:.9f} nats per row"
        gap = "" if record.gap is None else f", gap {record.gap:.1e}"
        speed = record.bytes_per_second / 1e6
        step = record.step or record.kind
        print(
            f"{self.name} {step} {told}{gap}, {record.seconds:.1f} s, {speed:.0f} MB/s", flush=True
        )


def overlapping_store(path: Path, n_bytes: int, d: int, k: int, chunk_bytes: int) -> Path:
    """A zstd Zarr array (n, d) of float32 rows; kept if it is complete."""
    chunk = max(1, chunk_bytes // (4 * d))
    n_chunks = max(1, round(n_bytes / (chunk * 4 * d)))
    done = path / "complete"
    if done.exists():
        return path
    begin = time.perf_counter()
    mixture = Planted.draw(d, k, np.random.default_rng(7))
    array = zarr.create_array(
        path, shape=(n_chunks * chunk, d), chunks=(chunk, d), dtype="f4", overwrite=True
    )
    for i in range(n_chunks):
        rows = mixture.rows(chunk, np.random.default_rng([7, i]))
        # three digits, as instruments have them: such data compress about twofold
        array[i * chunk : (i + 1) * chunk] = np.round(rows, 3).astype(np.float32)
    done.touch()
    print(f"store made in {time.perf_counter() - begin:.0f} s", flush=True)
    return path


@contextmanager
def cluster(options: argparse.Namespace) -> Iterator[Client]:
    made = LocalCluster(
        n_workers=options.workers,
        threads_per_worker=1,
        memory_limit=options.memory,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )
    with made, Client(made) as client:
        yield client


def measured(
    name: str, path: Path, start: MixtureParameters, options: argparse.Namespace, **how: Any
) -> Cost:
    """One fit on a cluster of its own."""
    with cluster(options) as client:
        Path("/proc/self/clear_refs").write_text("5")  # the peak of this process is counted anew
        begin = time.perf_counter()
        fitted = fit(mixture(start.k), path, start=start, client=client, monitor=Lines(name), **how)
        seconds = time.perf_counter() - begin
        spilled = client.run(lambda dask_worker: sum(dask_worker.data.spilled_total))
        return Cost(
            fitted,
            seconds,
            [peak(pid) for pid in client.run(os.getpid).values()],
            peak(os.getpid()),
            sum(spilled.values()),
            len(events(client)),
        )


def mixture(k: int) -> Mixture:
    return Mixture(Gaussian(reg_covar=1e-6), k, KMeans())


def drawn(path: Path, n: int) -> Array:
    """About n rows of the store, from chunks all over it."""
    array: Any = zarr.open_array(path, mode="r")
    chunk = array.chunks[0]
    n_chunks = array.shape[0] // chunk
    each = -(-n // n_chunks)
    starts = np.arange(n_chunks) * chunk
    chosen = starts[:: max(1, len(starts) // 32)]
    take = min(chunk, max(each, n // len(chosen)))
    return np.concatenate([array[at : at + take] for at in chosen]).astype(np.float64)


def passes_of_plain(rows: Array, start: MixtureParameters, gap: float) -> tuple[int, bool]:
    """Passes of plain EM in memory to a gap, nats per row; whether it got there."""
    in_memory = InMemory(mixture(start.k), rows)
    parameters, objectives = start, []
    for _ in range(MOST_COUNTED):
        statistics = in_memory.expect(parameters)
        objectives.append(statistics.log_likelihood / statistics.mass)
        parameters = in_memory.mixture.maximize(statistics)
        if len(objectives) > 1 and objectives[-1] - objectives[-2] < gap / 1e4:
            break
    top = optimum(in_memory, parameters)
    near = [i for i, objective in enumerate(objectives) if objective >= top - gap]
    return (near[0] + 1, True) if near else (len(objectives), False)


def plain(
    path: Path, start: MixtureParameters, goal: float, options: argparse.Namespace
) -> tuple[Cost, float, str]:
    """What plain EM costs, its seconds to the goal, and how these are known."""
    if options.plain == "full":
        cost = measured(
            "em",
            path,
            start,
            options,
            algorithm="em",
            stopping=Reaching(0, MOST_COUNTED, goal=goal),
        )
        return cost, cost.seconds, f"{len(cost.full)}, run to the same objective"
    stopping = Stopping(0, options.plain_passes)
    cost = measured("em", path, start, options, algorithm="em", stopping=stopping)
    passes, arrived = passes_of_plain(drawn(path, COUNTED_ROWS), start, options.gap)
    counted = f"{'' if arrived else 'more than '}{passes}, counted on {COUNTED_ROWS:,} rows"
    return cost, passes * cost.pass_seconds, counted


@dataclass(frozen=True)
class Reaching(Stopping):
    """Stop at an objective, nats per row."""

    goal: float = float("inf")

    def judge(
        self, previous: float, objective: float, n_passes: int, *rest: Any, **more: Any
    ) -> Any:
        tolerance = float("inf") if objective >= self.goal else 0.0
        return Stopping(tolerance, self.max_iter).judge(previous, objective, n_passes)


def told(fast: Cost, slow: Cost, seconds: float, passes: str) -> Table:
    table = Table(title="out of core")
    table.add_column("")
    for name in ("accelerated", "em"):
        table.add_column(name, justify="right")
    table.add_row("seconds", f"{fast.seconds:.0f}", f"{seconds:.0f}")
    table.add_row("full passes", f"{len(fast.full)} and the first", passes)
    each = [f"{cost.pass_seconds:.1f}" for cost in (fast, slow)]
    table.add_row("seconds per pass", *each)
    table.add_row(
        "bytes read", format_bytes(fast.nbytes), f"{format_bytes(slow.full[0].nbytes)} a pass"
    )
    reached = [f"{max(cost.fitted.objectives):.9f} in {len(cost.full)}" for cost in (fast, slow)]
    table.add_row("nats per row, in passes made", *reached)
    figures: dict[str, Callable[[Cost], str]] = {
        "peak MB of workers": lambda cost: " ".join(f"{mb:.0f}" for mb in cost.workers),
        "peak MB of client": lambda cost: f"{cost.client:.0f}",
        "bytes spilled": lambda cost: str(cost.spilled),
        "pauses, restarts, losses": lambda cost: str(cost.events),
    }
    for name, figure in figures.items():
        table.add_row(name, figure(fast), figure(slow))
    table.add_row("times faster", f"{seconds / fast.seconds:.1f}", "1")
    return table


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", default="16GB")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="1GB", help="of each worker")
    parser.add_argument("-d", type=int, default=16, help="features")
    parser.add_argument("-k", type=int, default=16, help="components")
    parser.add_argument("--chunk", default="16MB")
    parser.add_argument("--gap", type=float, default=1e-6, help="to the optimum, nats per row")
    parser.add_argument("--sample-rows", type=int, help="of the accelerated fit")
    parser.add_argument("--plain", choices=["sample", "full"], default="sample")
    parser.add_argument("--plain-passes", type=int, default=3, help="that are timed")
    parser.add_argument("--store", type=Path)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    warnings.simplefilter("ignore")
    dask.config.set({"distributed.admin.log-format": "%(message)s"})
    name = f"dask-em-overlap-{options.size}-{options.d}-{options.k}.zarr"
    path = options.store or Path(tempfile.gettempdir()) / name
    overlapping_store(
        path, parse_bytes(options.size), options.d, options.k, parse_bytes(options.chunk)
    )
    model, rng = mixture(options.k), np.random.default_rng(0)
    start = model.initialize(Block(drawn(path, 20_000)), rng)
    how = {} if options.sample_rows is None else {"init_sample": options.sample_rows}
    stopping = Stopping(options.gap, 100, tol_gap=options.gap)
    fast = measured(
        "accelerated", path, start, options, algorithm="accelerated", stopping=stopping, **how
    )
    slow, seconds, passes = plain(path, start, max(fast.fitted.objectives) - options.gap, options)
    Console(width=120).print(told(fast, slow, seconds, passes))


if __name__ == "__main__":
    main()
