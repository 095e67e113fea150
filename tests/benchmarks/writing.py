"""Rows per second of predictions that are written, beside a copy that reads and writes the same.

``python -m tests.benchmarks.writing [--rows N] [--repeats R]`` on the threads of a local machine.
The copy reads every row from the store and writes the same answers, chunk by chunk, and computes
nothing. Runs are paired, medians are shown.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import zarr

from dask_em import PPCA, GaussianMixture
from tests.benchmarks.stores import planted_store

D, K, Q = 8, 8, 3
#: names of arrays of answers; what else is written are their coordinates
ANSWERS = ("class", "probability", "log_likelihood", "score")


def copied(rows: Path, answers: dict[Path, Any], n_threads: int) -> None:
    """Read all rows, and write answers that are in memory, in the chunks of the rows."""
    source = zarr.open_array(rows, mode="r")
    chunk = source.chunks[0]
    targets = [
        (
            values,
            zarr.create_array(
                path, shape=values.shape, chunks=(chunk, *values.shape[1:]), dtype=values.dtype
            ),
        )
        for path, values in answers.items()
    ]

    def one(start: int) -> None:
        part = slice(start, start + chunk)
        source[part]
        for values, target in targets:
            target[part] = values[part]

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(one, range(0, source.shape[0], chunk)))


def timed(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compare(name: str, rows: Path, write: Callable[[Path], list[Path]], repeats: int) -> None:
    """Write with a model and copy, in turns."""
    folder, n_threads = rows.parent, len(os.sched_getaffinity(0))
    outputs = write(folder / "out")
    groups = [zarr.open_group(one) for one in outputs]
    arrays = [group[name] for group in groups for name in ANSWERS if name in group]
    answers = {folder / f"copy-{i}": array[...] for i, array in enumerate(arrays)}
    ours, theirs = [], []
    for _ in range(repeats):
        for path in answers:
            rmtree(path, ignore_errors=True)
        theirs.append(timed(lambda: copied(rows, answers, n_threads)))
        ours.append(timed(lambda: write(folder / "out")))
    n = zarr.open_array(rows, mode="r").shape[0]
    share = median(copy / our for copy, our in zip(theirs, ours, strict=True))
    print(
        f"{name:<40} {n / median(ours):14,.0f} rows/s, copy {n / median(theirs):14,.0f} rows/s: "
        f"{share:.0%}"
    )


def main(n_rows: int, repeats: int) -> None:
    with TemporaryDirectory() as folder:
        rows = planted_store(Path(folder, "rows.zarr"), n_rows * D * 4, D, K, 8 << 20)
        some = zarr.open_array(rows)[:100_000]
        mixture = GaussianMixture(K, random_state=0).fit(some)
        latent = PPCA(Q).fit(some)

        def labels(out: Path) -> list[Path]:
            mixture.write_predictions(rows, out, overwrite=True)
            return [out]

        def everything(out: Path) -> list[Path]:
            beside = [Path(f"{out}-p"), Path(f"{out}-d")]
            mixture.write_predictions(
                rows, out, probabilities=beside[0], log_density=beside[1], overwrite=True
            )
            return [out, *beside]

        def scores(out: Path) -> list[Path]:
            latent.write_scores(rows, out, overwrite=True)
            return [out]

        compare("labels", rows, labels, repeats)
        compare("labels, probabilities, densities", rows, everything, repeats)
        compare("scores", rows, scores, repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    main(given.rows, given.repeats)
