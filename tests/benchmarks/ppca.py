"""Probabilistic PCA beside its peers, in one process and one run.

    python -m tests.benchmarks.ppca                        every part
    python -m tests.benchmarks.ppca --parts memory store   complete rows
    python -m tests.benchmarks.ppca --parts gaps           a fifth of the cells missing

Rows in memory: a fit beside scikit-learn's PCA and IncrementalPCA, and dask-ml's PCA where that is
installed. A store: a fit beside reading every chunk once. Gaps: exact EM beside the packages
`ppca` and `pyppca` where they are installed; they iterate to tolerances of their own, so the
likelihood that each reaches stands beside its time. All take turns on one thread; medians are
shown. Wide stores have a benchmark of their own, `tests.benchmarks.ppca_wide`.
"""

from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import importlib
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import dask
import numpy as np
import zarr
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize_scalar
from sklearn import decomposition

from dask_em import PPCA
from dask_em.core.records import Array
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_posterior import log_density

#: rows that a likelihood is told by; the fits see all
JUDGED = 20_000


@dataclass(frozen=True)
class Peer:
    """A way to the latent dimensions of rows.

    Parameters
    ----------
    name : str
    fit : callable
        Rows to what `found` takes.
    found : callable
        What was fitted to the axes that it found.
    """

    name: str
    fit: Callable[[Array], Any]
    found: Callable[[Any], Axes]


def planted(n: int, d: int, q: int, seed: int = 0) -> Array:
    """Rows (n, d) of q latent dimensions and noise, each feature of about unit variance."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(d, q)) * np.linspace(1.0, 0.3, q)
    rows = np.empty((n, d))
    for start in range(0, n, 1 << 16):  # without a second copy of all
        part = rows[start : start + (1 << 16)]
        part[:] = rng.normal(size=(len(part), q)) @ loadings.T
        part += 0.7 * rng.normal(size=part.shape) + 2.0
    return rows


@dataclass(frozen=True)
class Axes:
    """Orthonormal axes (q, d) through a mean (d,), and the variances (q,) along them."""

    mean: Array
    axes: Array
    variances: Array
    noise: float

    @classmethod
    def of(cls, fitted: Any) -> Axes:
        """Those of an estimator in scikit-learn's manner."""
        return cls(
            np.asarray(fitted.mean_),
            np.asarray(fitted.components_),
            np.asarray(fitted.explained_variance_),
            float(fitted.noise_variance_),
        )

    def likelihood(self, rows: Array) -> float:
        """Nats per row, with the noise variance that suits the axes best."""
        least, most = np.log(self.variances.max() * 1e-6), np.log(self.variances.max())
        found = minimize_scalar(
            lambda noise: -self._likelihood(rows[:JUDGED], float(np.exp(noise))),
            bounds=(least, most),
            method="bounded",
        )
        return -float(found.fun)

    def _likelihood(self, rows: Array, noise: float) -> float:
        lengths = np.sqrt(np.maximum(self.variances - noise, 0.0))
        tried = PPCAParameters(self.mean, self.axes.T * lengths, noise)
        return float(log_density(rows, tried).mean())


def whole_rows(q: int) -> list[Peer]:
    """Who fits rows without gaps."""
    peers = [
        Peer("dask_em", lambda rows: PPCA(q).fit(rows), Axes.of),
        Peer(
            "scikit-learn, covariance_eigh",
            lambda rows: decomposition.PCA(q, svd_solver="covariance_eigh").fit(rows),
            Axes.of,
        ),
        Peer(
            "scikit-learn, randomized",
            lambda rows: decomposition.PCA(q, svd_solver="randomized", random_state=0).fit(rows),
            Axes.of,
        ),
        Peer("IncrementalPCA", lambda rows: decomposition.IncrementalPCA(q).fit(rows), Axes.of),
    ]
    if (dask_ml := installed("dask_ml.decomposition")) is not None:
        peers.append(Peer("dask-ml", lambda rows: dask_ml.PCA(q).fit(in_chunks(rows)), Axes.of))
    return peers


def in_chunks(rows: Array) -> Any:
    import dask.array

    return dask.array.from_array(rows, chunks=(len(rows) // 16, -1))


def rows_with_gaps(q: int) -> list[Peer]:
    """Who fits rows with gaps."""
    peers = [
        Peer("dask_em", lambda rows: PPCA(q, missing="model").fit(rows), Axes.of),
        # ends as soon as the others do, and higher all the same
        Peer(
            "dask_em, tol=1e-3", lambda rows: PPCA(q, missing="model", tol=1e-3).fit(rows), Axes.of
        ),
    ]
    if (pyppca := installed("pyppca")) is not None:
        peers.append(Peer("pyppca", lambda rows: pyppca.ppca(rows.copy(), q, False), of_pyppca))
    if (ppca := installed("ppca")) is not None:

        def fit(rows: Array) -> Any:
            model = ppca.PPCA()
            model.fit(rows.copy(), q)
            return model

        peers.append(Peer("ppca", fit, of_ppca))
    return peers


def of_pyppca(fitted: Any) -> Axes:
    axes, noise, mean, scores, _ = fitted
    return Axes(mean, np.real(axes).T, np.real(scores).var(axis=0), noise)


def of_ppca(fitted: Any) -> Axes:
    """It keeps no noise variance; this is what its axes leave of standardized rows."""
    variances = np.real(fitted.eig_vals)
    d, q = fitted.C.shape
    noise = max(d - variances.sum(), 1e-3) / (d - q)
    return Axes(np.zeros(d), np.real(fitted.C).T, variances, noise)


def installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    found = call()
    return time.perf_counter() - begin, found


def beside(title: str, peers: list[Peer], rows: Array, repeats: int) -> Table:
    """Seconds and likelihoods of peers that take turns; the first is what others are told by."""
    table = Table(title=f"{title}, medians of {repeats} paired runs")
    for name in ("", "seconds", "times dask_em", "nats/row", "less dask_em's"):
        table.add_column(name, justify="right" if name else "left")
    took: dict[str, list[float]] = {peer.name: [] for peer in peers}
    reached = {}
    for _ in range(repeats):
        for peer in peers:
            spent, fitted = seconds(lambda peer=peer: peer.fit(rows))  # type: ignore[misc]
            took[peer.name].append(spent)
            reached[peer.name] = peer.found(fitted).likelihood(rows)
    first = peers[0].name
    for name, times in took.items():
        ratio = median(a / b for a, b in zip(times, took[first], strict=True))
        table.add_row(
            name,
            f"{median(times):.2f}",
            f"{ratio:.2f}",
            f"{reached[name]:.6f}",
            f"{reached[name] - reached[first]:+.1e}",
        )
    return table


def memory(options: Any) -> Table:
    n, d, q = options.rows, 100, 10
    rows = planted(n, d, q)
    return beside(f"{n:,} x {d} in memory, q = {q}", whole_rows(q), rows, options.repeats)


def gaps(options: Any) -> Table:
    n, d, q = max(1000, options.rows // 10), 50, 5
    rows = planted(n, d, q)
    rows[np.random.default_rng(1).random(rows.shape) < 0.2] = np.nan
    # one of the peers standardizes on its own; so all see the same rows
    rows = (rows - np.nanmean(rows, axis=0)) / np.nanstd(rows, axis=0)
    title = f"{n:,} x {d}, q = {q}, 20% missing at random"
    return beside(title, rows_with_gaps(q), rows, options.repeats)


def store(options: Any) -> Table:
    """A fit from a zstd Zarr store beside reading it once, each on one thread."""
    n, d, q = options.rows, 100, 10
    folder = Path(tempfile.mkdtemp(prefix="ppca-"))
    try:
        rows = planted(n, d, q).astype(np.float32)
        path = folder / "rows.zarr"
        array = zarr.create_array(path, shape=(n, d), chunks=(min(n, 40_000), d), dtype="f4")
        array[:] = np.round(rows, 3)  # three digits, as instruments have them
        del rows
        reading, fitting = [], []
        for _ in range(options.repeats):
            reading.append(seconds(lambda: read_once(path))[0])
            fitting.append(seconds(lambda: PPCA(q).fit(str(path)))[0])
    finally:
        shutil.rmtree(folder)
    ratio = median(a / b for a, b in zip(fitting, reading, strict=True))
    table = Table(title=f"{n:,} x {d} float32 from zstd Zarr, medians of {options.repeats} runs")
    for name in ("", "seconds", "times reading"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("reading every chunk once", f"{median(reading):.2f}", "1")
    table.add_row("dask_em", f"{median(fitting):.2f}", f"{ratio:.2f}")
    return table


def read_once(path: Path) -> float:
    array = zarr.open_array(path, mode="r")
    height, total = array.chunks[0], 0.0
    with zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1}):
        for start in range(0, array.shape[0], height):
            total += float(array[start : start + height][0, 0])
    return total


PARTS = {"memory": memory, "store": store, "gaps": gaps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rows", type=int, default=1_000_000, help="a tenth of them with gaps")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    dask.config.set(num_workers=1)
    warnings.simplefilter("ignore")
    for part in options.parts:
        Console(width=110).print(PARTS[part](options))


if __name__ == "__main__":
    main()
