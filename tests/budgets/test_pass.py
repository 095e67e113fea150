"""Budgets of a pass: what is read, how often, by how many tasks, in how much memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from threading import Lock

import numpy as np
import pytest

from dask_em import Gaussian, Mixture, Stopping
from dask_em.core.block import Block
from dask_em.engine.fit import fit
from dask_em.engine.plan import BLOCKS_HELD, BLOCKS_OF_A_READ
from dask_em.engine.source import Chunk, Partition, Schema, Source
from dask_em.models.mixture import MixtureParameters
from dask_em.models.seeding import KMeans
from tests.engine.sources import clusters

lock = Lock()
reads: list[int] = []


@dataclass(frozen=True)
class CountedPartition(Partition):
    rows: int
    d: int

    def open(self):
        def read(index):
            with lock:
                reads.append(index)
            values = np.random.default_rng(index).normal(size=(self.rows, self.d))
            where = (slice(index * self.rows, (index + 1) * self.rows),)
            return Chunk(index, f"chunk {index}", Block(values), where)

        return read


class CountedSource(Source):
    def __init__(self, n_chunks, rows, d=4, reads_at_once=1):
        self.reads_at_once = reads_at_once
        self.rows, self.d = rows, d
        self.schema = Schema(
            n_features=d,
            dtype=np.dtype(np.float64),
            sample_shape=(n_chunks * rows,),
            n_chunks=n_chunks,
            chunk_bytes=rows * d * 8,
            feature_names=None,
            describe="counted rows",
        )

    def partition(self, chunks):
        return CountedPartition(chunks, self.rows, self.d, reads_at_once=self.reads_at_once)


def start(d=4, k=3) -> tuple[Mixture, MixtureParameters]:
    mixture = Mixture(Gaussian(), k, KMeans())
    return mixture, mixture.initialize(Block(clusters(500, d)), np.random.default_rng(0))


def test_each_chunk_is_read_once_a_pass():
    mixture, parameters = start()
    reads.clear()
    fitted = fit(
        mixture, CountedSource(700, 50), start=parameters, stopping=Stopping(0, 3), algorithm="em"
    )
    assert sorted(reads) == sorted(3 * list(range(700)))
    assert all(record.n_tasks <= 512 for record in fitted.history)


def test_the_first_pass_reads_each_chunk_once():
    mixture, _ = start()
    reads.clear()
    fit(
        mixture,
        CountedSource(700, 50),
        stopping=Stopping(0, 1),
        rng=np.random.default_rng(0),
        algorithm="em",
    )
    assert sorted(reads) == sorted(2 * list(range(700)))


@pytest.mark.parametrize("reads", [1, 4])
def test_memory_is_a_few_blocks_whatever_the_size(monkeypatch, reads):
    monkeypatch.setattr("dask_em.engine.runner._cpu_count", lambda: 1)
    mixture, parameters = start()
    chunk = 1 << 18  # rows: 8 MiB
    options = {"start": parameters, "stopping": Stopping(0, 1), "algorithm": "em"}
    fit(mixture, CountedSource(2, 50), **options)  # what is imported is not counted
    tracemalloc.start()
    try:
        source = CountedSource(40, chunk, reads_at_once=reads)
        fit(mixture, source, **options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (BLOCKS_HELD + BLOCKS_OF_A_READ * reads) * source.schema.chunk_bytes
