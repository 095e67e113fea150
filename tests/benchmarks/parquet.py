"""A pass over Parquet beside pyarrow alone, and writing predictions beside a copy.

    python -m tests.benchmarks.parquet --size 1GB --threads 2 --repeats 5

Both sides of a comparison read the same columns of the same files with the same threads, in turn,
and the median of the ratios of the pairs is told.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dask.utils import parse_bytes

from dask_em import GaussianMixture
from dask_em.engine.limits import reuse_memory
from dask_em.engine.monitor import Monitor
from dask_em.engine.plan import Plan
from dask_em.engine.runner import LocalRunner
from dask_em.engine.stream import Reading, Tally, fold_leaves
from dask_em.sources.parquet.source import ParquetSource

FILES, COLUMNS, READ = 4, 20, 8
GROUP_ROWS = 1 << 18
FEATURES = [f"x{2 * j}" for j in range(READ)]
KEY = "id"


def make(home: Path, nbytes: int) -> int:
    """Files of `COLUMNS` floats and a key; the number of rows."""
    rows = nbytes // (FILES * COLUMNS * 8) // GROUP_ROWS * GROUP_ROWS or GROUP_ROWS
    home.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"x{j}" for j in range(COLUMNS)]
    schema = pa.schema([(KEY, pa.int64()), *((name, pa.float64()) for name in names)])
    for number in range(FILES):
        with pq.ParquetWriter(
            home / f"part-{number}.parquet", schema, compression="zstd", use_dictionary=False
        ) as writer:
            for start in range(0, rows, GROUP_ROWS):
                label = rng.integers(4, size=GROUP_ROWS)
                columns = [label + rng.normal(size=GROUP_ROWS) for _ in names]
                ids = np.arange(start, start + GROUP_ROWS) + number * rows
                writer.write_table(pa.table([ids, *columns], schema))
    return FILES * rows


def each_file(home: Path, threads: int, work: Callable[[Path], int]) -> int:
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, sorted(home.glob("*.parquet"))))


def read_by_pyarrow(home: Path, threads: int) -> int:
    """All row groups to tables, a file per thread."""

    def read(path: Path) -> int:
        file = pq.ParquetFile(path)
        return sum(
            len(file.read_row_group(group, FEATURES, use_threads=False))
            for group in range(file.num_row_groups)
        )

    return each_file(home, threads, read)


def read_by_dask_em(home: Path, threads: int) -> int:
    """A pass as of a fit, with nothing to compute."""
    source = ParquetSource.open(home, features=FEATURES)
    runner = LocalRunner(threads)
    tasks = Plan.make(source, runner.resources).partitions(source)
    reading = Reading(source.schema, None)
    tally: Tally = runner.reduce("pass", count, tasks, reading, Monitor())
    return tally.rows


def count(leaves: Any, reading: Reading, stopped: Callable[[], bool]) -> Tally | None:
    return fold_leaves(leaves, reading, lambda piece: piece.tally, stopped)


def copy(home: Path, out: Path, threads: int) -> int:
    """Reads what predicting reads and writes columns like those of answers."""
    out.mkdir(parents=True)

    def one(path: Path) -> int:
        file = pq.ParquetFile(path)
        kinds = [(KEY, pa.int64()), ("class", pa.int64()), ("p0", pa.float64())]
        schema = pa.schema([*kinds, ("p1", pa.float64()), ("log_likelihood", pa.float64())])
        rows = 0
        with pq.ParquetWriter(
            out / path.name, schema, compression="zstd", use_dictionary=[KEY, "class"]
        ) as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, [*FEATURES, KEY], use_threads=False)
                answers = [table[name] for name in (KEY, KEY, *FEATURES[:3])]
                writer.write_table(pa.table(answers, schema))
                rows += len(table)
        return rows

    return each_file(home, threads, one)


def predict(model: GaussianMixture, home: Path, out: Path) -> int:
    return model.write_predictions(home, out, probabilities=True, log_density=True, keys=[KEY]).rows


def paired(
    name: str, ours: Callable[[], int], theirs: Callable[[], int], rows: int, repeats: int
) -> None:
    ratios, seconds, cpus = [], [], []
    for _ in range(repeats + 1):
        pair, cpu = [], []
        for side in (ours, theirs):
            begin, busy = time.perf_counter(), time.process_time()
            assert side() == rows
            pair.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - busy)
        ratios.append(pair[0] / pair[1])
        cpus.append(cpu[0] / cpu[1])
        seconds.append(pair)
    ratio = statistics.median(ratios[1:])  # the first pair reads from the disk
    mine, other = (statistics.median(side) for side in zip(*seconds[1:], strict=True))
    print(
        f"{name}: {mine:.2f} s beside {other:.2f} s, {ratio:.2f} times as long "
        f"({rows / mine / 1e6:.2f} beside {rows / other / 1e6:.2f} million rows/s; "
        f"of the pairs {min(ratios[1:]):.2f} to {max(ratios[1:]):.2f}; "
        f"{statistics.median(cpus[1:]):.2f} times the processor's time)",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=parse_bytes, default="1GB")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(arguments)
    pa.set_cpu_count(given.threads)
    reuse_memory()
    with (
        tempfile.TemporaryDirectory(dir=given.folder) as scratch,
        dask.config.set(num_workers=given.threads),
    ):
        home, out = Path(scratch, "in"), Path(scratch, "out")
        rows = make(home, given.size)
        threads = given.threads
        print(f"{rows} rows, {READ} of {COLUMNS} columns, {FILES} files, {threads} threads")
        paired(
            "a pass",
            lambda: read_by_dask_em(home, threads),
            lambda: read_by_pyarrow(home, threads),
            rows,
            given.repeats,
        )
        model = GaussianMixture(2, random_state=0, tol=1, init_sample=10_000)
        model.fit(home, features=FEATURES)

        def fresh(write: Callable[[], int]) -> int:
            shutil.rmtree(out, ignore_errors=True)
            return write()

        paired(
            "writing predictions",
            lambda: fresh(lambda: predict(model, home, out)),
            lambda: fresh(lambda: copy(home, out, threads)),
            rows,
            given.repeats,
        )


if __name__ == "__main__":
    main()
