"""Passes, seconds and memory of probabilistic PCA of a wide store, and how near the best it comes.

    python -m tests.benchmarks.ppca_wide
    python -m tests.benchmarks.ppca_wide --chunks 10000x500 --threads 2

The store is float32 in zstd; its spectrum falls as 1 / j down to a floor, so that no few dimensions
stand out, and plain EM needs hundreds of passes. The best is that of the leading eigenvalues of the
scatter, which is summed here chunk by chunk. Memory is each process's peak resident set as the
kernel counts it.
"""

from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import zarr
from distributed import Client, LocalCluster
from rich.console import Console
from rich.table import Table
from scipy.linalg import eigh

from dask_em import Stopping, fit
from dask_em.core.records import Array
from dask_em.engine.fit import Fitted
from dask_em.engine.plan import Plan
from dask_em.engine.runner import choose_runner
from dask_em.models.ppca_gram import PPCAStatistics
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_streaming import StreamingPPCA
from dask_em.sources.registry import open_source
from tests.benchmarks.memory import events, peak

#: dimensions above the floor, and the floor beside the largest eigenvalue
FACTORS, FLOOR = 400, 2e-3
#: rows that are drawn and summed at once
ROWS = 2000


def wide_store(path: Path, n: int, d: int, chunks: tuple[int, int]) -> zarr.Array:
    """Rows (n, d) whose covariance has the eigenvalues ``1 / j + floor``; kept if it is there."""
    if (path / "zarr.json").exists():
        return zarr.open_array(path, mode="r")
    array = zarr.create_array(path, shape=(n, d), chunks=chunks, dtype="f4")
    rng = np.random.default_rng(0)
    factors = min(FACTORS, d)
    axes = np.linalg.qr(rng.standard_normal((d, factors)))[0]
    # features of about unit variance, about means of the same size
    unit = np.sqrt(d / np.log(factors))
    loadings = (unit * axes / np.sqrt(np.arange(1, factors + 1))).T.astype(np.float32)
    mean = rng.standard_normal(d).astype(np.float32)
    rows = max(ROWS, chunks[0])
    for start in range(0, n, rows):
        m = min(rows, n - start)
        part = rng.standard_normal((m, factors), dtype=np.float32) @ loadings + mean
        part += np.float32(unit * np.sqrt(FLOOR)) * rng.standard_normal((m, d), dtype=np.float32)
        # three digits, as instruments have them
        array[start : start + m] = np.round(part, 3)
    return array


class Best:
    """The likelihood of any parameters, and the greatest, by a scatter (d, d) of all rows."""

    def __init__(self, array: zarr.Array, q: int, at: PPCAParameters) -> None:
        d = array.shape[1]
        first, scatter = np.zeros(d), np.zeros((d, d))
        for start in range(0, array.shape[0], ROWS):
            rows = np.asarray(array[start : start + ROWS]) - at.place.shift.astype(np.float32)
            rows *= np.float32(1 / at.unit)
            first += rows.sum(axis=0, dtype=np.float64)
            scatter += rows.T @ rows
        self.sums = PPCAStatistics(float(array.shape[0]), 0.0, first, scatter, at)
        self.objective = self._greatest(q)

    def of(self, parameters: PPCAParameters) -> float:
        """Nats per row of parameters."""
        return self.sums.placed(parameters).log_likelihood / self.sums.mass

    def _greatest(self, q: int) -> float:
        covariance = self.sums.moments[1]
        d = len(covariance)
        leading: Array = eigh(covariance, eigvals_only=True, subset_by_index=(d - q, d - 1))
        noise = (np.trace(covariance) - leading.sum()) / (d - q)
        within = np.log(leading).sum() + (d - q) * np.log(noise)
        volume = 2 * d * np.log(self.sums.at.unit)
        return float(-0.5 * (d * np.log(2 * np.pi) + within + d + volume))


def told(fitted: Fitted[PPCAParameters], best: Best) -> Table:
    table = Table(title="passes; the last line is what the fit ends with")
    for name in ("pass", "step", "below the best", "gap", "s", "reading", "computing", "between"):
        table.add_column(name, justify="right")
    for number, record in enumerate(fitted.history, 1):
        below = None if record.objective is None else best.objective - record.objective
        table.add_row(
            str(number),
            record.step or record.kind,
            "" if below is None else f"{below:.2e}",
            "" if record.gap is None else f"{record.gap:.1e}",
            f"{record.seconds:.1f}",
            f"{record.read_seconds:.1f}",
            f"{record.compute_seconds:.1f}",
            f"{record.between_seconds or 0:.1f}",
        )
    table.add_row("", "end", f"{best.objective - best.of(fitted.parameters):.2e}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=5000)
    parser.add_argument("--components", type=int, default=20)
    parser.add_argument("--chunks", default="2000x5000")
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tol-gap", type=float, default=1e-6, help="nats per row")
    parser.add_argument("--no-best", action="store_true", help="spare the scatter")
    parser.add_argument("--keep", action="store_true", help="the store")
    options = parser.parse_args()
    console = Console(width=110)
    chunks = tuple(int(length) for length in options.chunks.split("x"))
    name = f"dask-em-wide-{options.rows}x{options.features}-{options.chunks}.zarr"
    path = Path(tempfile.gettempdir()) / name
    begin = time.perf_counter()
    array = wide_store(path, options.rows, options.features, chunks)
    console.print(f"{path}: {time.perf_counter() - begin:.0f} s")
    cluster = LocalCluster(
        n_workers=1,
        threads_per_worker=options.threads,
        memory_limit=options.memory,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )
    with cluster, Client(cluster) as client:
        source = open_source(str(path))
        plan = Plan.make(source, choose_runner(source, client).resources)
        # the peak so far is that of making the store
        Path("/proc/self/clear_refs").write_text("5")
        begin = time.perf_counter()
        fitted = fit(
            StreamingPPCA(options.components),
            str(path),
            client=client,
            stopping=Stopping(tol_gap=options.tol_gap),
            rng=np.random.default_rng(0),
        )
        seconds = time.perf_counter() - begin
        (worker,) = client.run(os.getpid).values()
        console.print(
            f"{seconds:.1f} s, {len(fitted.history)} passes, {fitted.outcome.name}; "
            f"worker peak {peak(worker):.0f} MB, promised {plan.worker_bytes / 1e6:.0f} MB beside "
            f"what it takes at rest; client peak {peak(psutil.Process().pid):.0f} MB"
        )
        console.print("events:", events(client) or "no pause, no restart")
    if not options.no_best:
        console.print(told(fitted, Best(array, options.components, fitted.parameters)))
    if not options.keep:
        shutil.rmtree(path)


if __name__ == "__main__":
    main()
