"""Laws that every source obeys, for authors of sources.

A case joins by one line in a list; each law is a function of a case and a scratch folder::

    CASES = [SourceCase("mine", lambda scratch: MySource(scratch), rows=expected)]

    @pytest.mark.parametrize("law", SOURCE_LAWS, ids=lambda law: law.__name__)
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_laws(case, law, tmp_path):
        law(case, tmp_path)
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cloudpickle  # type: ignore[import-untyped]
import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.source import Chunk, Source

__all__ = ["SOURCE_LAWS", "SourceCase"]


@dataclass(frozen=True, eq=False)
class SourceCase:
    """A source and what it must hold.

    Parameters
    ----------
    name : str
    make : callable
        Makes the source, writing what it needs into the given folder.
    rows : array (n, d)
        What must be read, bit for bit and in this dtype: in C order of the sample axes, or in
        order of the chunks where positions are not known.
    weights : array (n,), optional
    probe : callable, optional
        How many reads of rows there have been; not asked where it is None.
    """

    name: str
    make: Callable[[Path], Source]
    rows: Array  # (n, d)
    weights: Array | None = None  # (n,)
    probe: Callable[[], int] | None = None

    def __str__(self) -> str:
        return self.name


def rows_are_read_once_and_in_place(case: SourceCase, scratch: Path) -> None:
    """Every row arrives once, at its position."""
    source = case.make(scratch)
    expected = case.rows
    shape = source.schema.sample_shape
    chunks = _read(source, [range(source.schema.n_chunks)])
    positions = _joined([chunk.positions(shape) for chunk in chunks], (0,), np.int64)
    assert len(np.unique(positions)) == len(positions), "a position is read twice"
    order = np.argsort(positions, kind="stable")
    if shape is not None:
        assert np.array_equal(positions[order], np.arange(len(expected))), "positions have gaps"
    rows = _joined([chunk.block.values for chunk in chunks], (0, expected.shape[1]), expected.dtype)
    _assert_same(rows[order], expected, "rows")
    if case.weights is None:
        assert all(chunk.block.weights is None for chunk in chunks), "weights came unasked"
        return
    weights = [chunk.block.weights for chunk in chunks if chunk.block.weights is not None]
    assert len(weights) == len(chunks), "a chunk lacks its weights"
    _assert_same(_joined(weights, (0,), np.float64)[order], case.weights, "weights")


def schema_is_truthful(case: SourceCase, scratch: Path) -> None:
    """What the schema says before reading is what is read."""
    source = case.make(scratch)
    schema = source.schema
    n, d = case.rows.shape
    assert schema.n_features == d
    assert schema.dtype == case.rows.dtype
    assert schema.dtype in (np.float32, np.float64)
    assert schema.n_rows in (n, None)
    assert schema.feature_names is None or len(schema.feature_names) == d
    assert schema.feature_units is None or len(schema.feature_units) == d
    assert schema.describe
    assert schema.stored_bytes is None or schema.stored_bytes >= 0
    for chunk in _read(source, [range(schema.n_chunks)]):
        assert chunk.block.values.dtype == schema.dtype
        assert chunk.block.n_features == d
        assert chunk.name
        assert chunk.block.nbytes <= schema.chunk_bytes, f"{chunk.name} is larger than promised"


def regions_cover_the_samples_once(case: SourceCase, scratch: Path) -> None:
    """Regions are boxes that hold their chunk's rows; together they tile the sample axes."""
    source = case.make(scratch)
    shape = source.schema.sample_shape
    chunks = _read(source, [range(source.schema.n_chunks)])
    if shape is None:
        assert all(chunk.region is None for chunk in chunks), "a region of an unknown shape"
        return
    covered = np.zeros(shape, dtype=int)
    for chunk in chunks:
        assert chunk.region is not None, f"{chunk.name} has no region"
        assert covered[chunk.region].size == len(chunk.block), f"{chunk.name} is not its region"
        covered[chunk.region] += 1
    assert (covered == 1).all(), "a sample is covered twice or not at all"
    lengths = source.schema.sample_chunks
    if lengths is not None:
        cells = list(product(*lengths))
        assert tuple(map(sum, lengths)) == shape, "the chunk lengths are not those of the samples"
        assert len(cells) == len(chunks), "the chunk lengths do not tell the number of chunks"
        for chunk, cell in zip(chunks, cells, strict=True):
            region = chunk.region or ()
            assert tuple(part.stop - part.start for part in region) == cell, "chunks leave the grid"
            assert source.schema.region(chunk.index) == region, f"{chunk.name} is not where told"


def partitions_cut_anywhere(case: SourceCase, scratch: Path) -> None:
    """However chunks are gathered into partitions, each is read the same."""
    source = case.make(scratch)
    n = source.schema.n_chunks
    whole = _read(source, [range(n)])
    single = _read(source, [range(index, index + 1) for index in range(n)])
    thirds = _read(source, [range(n * i // 3, n * (i + 1) // 3) for i in range(3)])
    _assert_same_chunks(whole, single)
    _assert_same_chunks(whole, thirds)
    assert [chunk.index for chunk in whole] == list(range(n))


def reading_again_gives_the_same(case: SourceCase, scratch: Path) -> None:
    """A retry, in any order and from a reader opened anew, returns the same bytes."""
    source = case.make(scratch)
    partition = source.partition(range(source.schema.n_chunks))
    first = [_copied(chunk) for chunk in map(partition.open(), partition.chunks)]
    read = partition.open()
    backwards = [read(index) for index in reversed(partition.chunks)][::-1]
    _assert_same_chunks(first, backwards)
    _assert_same_chunks(first, [read(index) for index in partition.chunks])


def partitions_travel(case: SourceCase, scratch: Path) -> None:
    """A pickled partition reads what the original reads."""
    source = case.make(scratch)
    n = source.schema.n_chunks
    runs = [range(n // 2), range(n // 2, n)]
    partitions = [source.partition(run) for run in runs]
    # cloudpickle is what Dask sends tasks with: a lazy graph may hold a lambda
    sent = [pickle.loads(cloudpickle.dumps(partition)) for partition in partitions]
    for mine, theirs in zip(partitions, sent, strict=True):
        assert theirs.chunks == mine.chunks
        read, read_there = mine.open(), theirs.open()
        _assert_same_chunks(map(read, mine.chunks), map(read_there, mine.chunks))


def nothing_is_read_before_it_is_wanted(case: SourceCase, scratch: Path) -> None:
    """Making a source, cutting it and opening a partition read no rows."""
    if case.probe is None:
        return
    before = case.probe()
    source = case.make(scratch)
    partition = source.partition(range(source.schema.n_chunks))
    read = partition.open()
    assert case.probe() == before, "rows were read before they were wanted"
    read(0)
    assert case.probe() > before, "the probe does not see reading"


def coordinates_lie_along_the_samples(case: SourceCase, scratch: Path) -> None:
    """Dims are those of the samples, and coordinates have their lengths."""
    source = case.make(scratch)
    dims, shape = source.schema.sample_dims, source.schema.sample_shape
    coordinates = source.coordinates()
    if dims is None:
        assert not coordinates, "coordinates of axes without names"
        return
    assert len(set(dims)) == len(dims), "two sample axes have one name"
    assert shape is None or len(dims) == len(shape)
    for name, coordinate in coordinates.items():
        assert set(coordinate.dims) <= set(dims), f"{name} lies along an axis that is no sample's"
        lengths = dict(zip(dims, shape or coordinate.values.shape, strict=True))
        assert coordinate.values.shape == tuple(lengths[dim] for dim in coordinate.dims)


SOURCE_LAWS: tuple[Callable[[SourceCase, Path], None], ...] = (
    rows_are_read_once_and_in_place,
    schema_is_truthful,
    regions_cover_the_samples_once,
    partitions_cut_anywhere,
    reading_again_gives_the_same,
    partitions_travel,
    coordinates_lie_along_the_samples,
    nothing_is_read_before_it_is_wanted,
)


def _read(source: Source, runs: Iterable[range]) -> list[Chunk]:
    chunks = []
    for run in runs:
        partition = source.partition(run)
        assert partition.chunks == run
        chunks += list(map(partition.open(), run))
    return chunks


def _copied(chunk: Chunk) -> Chunk:
    # a reader may hand out views of a buffer that a later read would overwrite
    weights = chunk.block.weights
    block = Block(chunk.block.values.copy(), None if weights is None else weights.copy())
    return Chunk(chunk.index, chunk.name, block, chunk.region)


def _joined(parts: list[Array], empty: tuple[int, ...], dtype: np.dtype | type) -> Array:
    return np.concatenate(parts) if parts else np.empty(empty, dtype)


def _assert_same_chunks(left: Iterable[Chunk], right: Iterable[Chunk]) -> None:
    for mine, theirs in zip(left, right, strict=True):
        assert mine.index == theirs.index
        assert mine.name == theirs.name
        assert mine.region == theirs.region
        _assert_same(mine.block.values, theirs.block.values, f"rows of {mine.name}")
        weights, others = mine.block.weights, theirs.block.weights
        assert (weights is None) == (others is None)
        if weights is not None and others is not None:
            _assert_same(weights, others, f"weights of {mine.name}")


def _assert_same(found: Array, expected: Array, what: str) -> None:
    assert found.dtype == expected.dtype, f"{what} have dtype {found.dtype}, not {expected.dtype}"
    assert found.shape == expected.shape, f"{what} have shape {found.shape}, not {expected.shape}"
    assert found.tobytes() == expected.tobytes(), f"{what} differ"
