"""The law suite over every variant of every source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dask_em.core.block import Block
from dask_em.engine.source import Chunk, Partition, Reader, Source
from dask_em.sources.arrays import NumpySource
from dask_em.testing.sources import SOURCE_LAWS, SourceCase
from tests.s3 import Bucket
from tests.sources.cases import CUBE, DASK, MAPPED, NUMPY, ROWS, ZARR, s3_case
from tests.sources.table_cases import FRAMES, PARQUET
from tests.sources.xarray_cases import XARRAY


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:dask")  # of pandas, in dask
@pytest.mark.parametrize("law", SOURCE_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(
    "case", [*NUMPY, *DASK, *ZARR, *XARRAY, *PARQUET, *FRAMES, *MAPPED], ids=str
)
def test_laws(case: SourceCase, law: Callable[[SourceCase, Path], None], tmp_path: Path) -> None:
    law(case, tmp_path)


@pytest.mark.parametrize("law", SOURCE_LAWS, ids=lambda law: law.__name__)
def test_laws_on_an_object_store(
    law: Callable[[SourceCase, Path], None], bucket: Bucket, tmp_path: Path
) -> None:
    url = bucket.array("cube.zarr", CUBE, chunks=(2, 7, 1, 3), shards=(4, 7, 5, 3))
    bucket.proxy.fault("slow down", "GET .*/c/", times=2)
    law(s3_case(url, bucket.options), tmp_path)


class Broken(Source):
    """A NumPy source with one fault."""

    def __init__(self, fault: Callable[[Chunk], Chunk]) -> None:
        self._source, self._fault = NumpySource(ROWS), fault
        self.schema = self._source.schema

    def partition(self, chunks: range) -> Partition:
        return BrokenPartition(chunks, self._source.partition(chunks), self._fault)


class BrokenPartition(Partition):
    def __init__(
        self, chunks: range, partition: Partition, fault: Callable[[Chunk], Chunk]
    ) -> None:
        super().__init__(chunks)
        object.__setattr__(self, "partition", partition)
        object.__setattr__(self, "fault", fault)

    def open(self) -> Reader:
        read = self.partition.open()
        return lambda index: self.fault(read(index))


def with_values(chunk: Chunk, values: np.ndarray) -> Chunk:
    return Chunk(chunk.index, chunk.name, Block(values), chunk.region)


def drops_a_row(chunk: Chunk) -> Chunk:
    return with_values(chunk, chunk.block.values[1:])


def loses_precision(chunk: Chunk) -> Chunk:
    return with_values(chunk, chunk.block.values.astype("f4"))


def reverses_rows(chunk: Chunk) -> Chunk:
    return with_values(chunk, chunk.block.values[::-1])


def is_random(chunk: Chunk) -> Chunk:
    return with_values(chunk, np.random.default_rng().normal(size=chunk.block.values.shape))


def lies_elsewhere(chunk: Chunk) -> Chunk:
    return Chunk(chunk.index, chunk.name, chunk.block, (slice(1, 101),))


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (drops_a_row, "regions_cover_the_samples_once"),
        (loses_precision, "schema_is_truthful"),
        (reverses_rows, "rows_are_read_once_and_in_place"),
        (is_random, "reading_again_gives_the_same"),
        (is_random, "partitions_cut_anywhere"),
        (is_random, "partitions_travel"),
        (lies_elsewhere, "rows_are_read_once_and_in_place"),
        (lies_elsewhere, "regions_cover_the_samples_once"),
    ],
)
def test_laws_can_fail(fault: Callable[[Chunk], Chunk], broken: str, tmp_path: Path) -> None:
    (law,) = (law for law in SOURCE_LAWS if law.__name__ == broken)
    case = SourceCase("broken", lambda _: Broken(fault), ROWS)
    with pytest.raises((AssertionError, ValueError)):
        law(case, tmp_path)
