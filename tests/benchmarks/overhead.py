"""What a pass costs beyond reading and computing, and how well reading is hidden.

python -m tests.benchmarks.overhead chunks     65,536 chunks against 64, the same rows
python -m tests.benchmarks.overhead hidden     reading, computing and both, on a zstd store
"""

from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import tempfile
import time
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
from distributed import Client, LocalCluster

from dask_em import Gaussian, GaussianMixture, Mixture, Stopping, fit, open_source
from dask_em.core.block import Block
from dask_em.engine.limits import reuse_memory
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.source import Chunk, Partition, Reader, Schema, Source
from dask_em.engine.stream import Reading, stream
from dask_em.models.mixture import MixtureParameters
from dask_em.models.seeding import KMeans
from tests.benchmarks.stores import planted_store

ROWS, FEATURES, COMPONENTS = 1 << 24, 4, 4


@cache
def made() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1 << 18, FEATURES))


@dataclass(frozen=True)
class MadePartition(Partition):
    """Rows that cost next to nothing to make."""

    rows: int

    def open(self) -> Reader:
        every = made()

        def read(index: int) -> Chunk:
            start = index * self.rows % len(every)
            values = every[start : start + self.rows]
            where = (slice(index * self.rows, (index + 1) * self.rows),)
            return Chunk(index, f"chunk {index}", Block(values), where)

        return read


class MadeSource(Source):
    def __init__(self, n_chunks: int) -> None:
        self.rows = ROWS // n_chunks
        self.schema = Schema(
            n_features=FEATURES,
            dtype=np.dtype(np.float64),
            sample_shape=(ROWS,),
            n_chunks=n_chunks,
            chunk_bytes=self.rows * FEATURES * 8,
            feature_names=None,
            describe="rows made in memory",
        )

    def partition(self, chunks: range) -> Partition:
        return MadePartition(chunks, self.rows)


class Seconds(Monitor):
    """Keeps the records of E-steps, without the first of a fit."""

    def __init__(self) -> None:
        self.records: list[PassRecord] = []

    def end(self, record: PassRecord) -> None:
        if record.kind == "em" and record.iteration:
            self.records.append(record)


def start() -> tuple[Mixture, MixtureParameters]:
    mixture = Mixture(Gaussian(reg_covar=1e-6), COMPONENTS, KMeans())
    sample = Block(np.random.default_rng(1).normal(size=(1000, FEATURES)))
    return mixture, mixture.initialize(sample, np.random.default_rng(0))


def chunks(passes: int) -> None:
    mixture, parameters = start()
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        for n_chunks in (64, 65_536, 64, 65_536):
            seconds = Seconds()
            stopping = Stopping(0, passes + 1)
            source = MadeSource(n_chunks)
            begin = time.perf_counter()
            fit(
                mixture, source, start=parameters, stopping=stopping, client=client, monitor=seconds
            )
            whole = time.perf_counter() - begin
            each = median(record.seconds for record in seconds.records)
            print(f"{n_chunks:6} chunks: {each:.2f} s a pass, {whole:.2f} s for {passes + 1}")


def read_alone(partition: Partition, reading: Reading) -> float:
    reuse_memory()  # as a task of a pass does
    begin = time.perf_counter()
    for _piece in stream([partition], reading):
        pass
    return time.perf_counter() - begin


def compute_alone(partition: Partition, model: Mixture, parameters: MixtureParameters) -> float:
    block = partition.open()(0).block
    begin = time.perf_counter()
    for _ in partition.chunks:
        model.expect(block, parameters)
    return time.perf_counter() - begin


def hidden(size: int, passes: int, n_workers: int, k: int) -> None:
    """With one worker on two cores, reading is to cost nothing beside computing."""
    path = planted_store(Path(tempfile.gettempdir()) / f"dask-em-hidden-{size}.zarr", size)
    source = open_source(path)
    partition = source.partition(range(source.schema.n_chunks))

    block = partition.open()(0).block
    mixture = GaussianMixture(k, max_iter=2, tol=0, random_state=0).fit(block.values)
    model, parameters = mixture._model, mixture._parameters
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        # alone, but where a pass runs: a worker's memory allocator makes reading slower
        how = Reading(source.schema)
        reading = client.submit(read_alone, partition, how, pure=False).result()
        computing = client.submit(compute_alone, partition, model, parameters, pure=False).result()
        # one pass at a time: parameters that move may change the arithmetic
        once = Stopping(0, 1)
        fits = [
            fit(model, source, start=parameters, stopping=once, client=client)
            for _ in range(1 + passes)
        ]
    both = median(fitted.history[0].seconds for fitted in fits[1:])
    print(
        f"k={k}: reading {reading:.2f} s, computing {computing:.2f} s, a pass {both:.2f} s: "
        f"{both / max(reading, computing):.2f} x the larger, "
        f"{both / (reading + computing) * 2:.2f} x the sum over two cores"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=["chunks", "hidden"])
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes")
    parser.add_argument("--workers", type=int, default=1, help="of one thread each")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.what == "chunks":
        chunks(options.passes)
    else:
        for k in (2, 16, 32):
            hidden(options.size, options.passes, options.workers, k)


if __name__ == "__main__":
    main()
