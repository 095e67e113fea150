"""Mapped sources: what passes through, what is masked, what travels, what is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray
import zarr
from numpy.testing import assert_array_equal

import dask_em
from dask_em import (
    Centre,
    Groups,
    InputError,
    Log,
    RowMask,
    Scale,
    SchemaError,
    Select,
    Standardize,
)
from dask_em.engine.moments import moments
from dask_em.engine.source import Source
from dask_em.mapping.chain import Chain
from dask_em.sources.arrays import NumpySource
from dask_em.sources.dask import DaskSource
from dask_em.sources.mapped import MappedSource
from dask_em.sources.zarr import ZarrSource
from tests.sources.named import NamedSource

RNG = np.random.default_rng(3)
CUBE = RNG.normal(size=(6, 7, 5, 3))
LAND = RNG.random((7, 5)) > 0.4
DIMS = ("time", "lat", "lon")


def mapped(source: Source, *steps: Any) -> MappedSource:
    return MappedSource(source, Chain.of(steps))


def kept(source: Source) -> np.ndarray:
    schema = source.schema
    found = np.zeros(schema.sample_shape or (), dtype=int)
    part = source.partition(range(schema.n_chunks))
    read = part.open()
    for index in part.chunks:
        chunk = read(index)
        assert chunk.region is not None
        rows = np.ones(len(chunk.block), bool) if chunk.kept is None else chunk.kept
        found[chunk.region] = rows.reshape(found[chunk.region].shape)
    return found.astype(bool)


def sources() -> list[Source]:
    lazy = da.from_array(CUBE, chunks=(4, 2, 5, 3))
    stored = zarr.create_array(zarr.storage.MemoryStore(), data=CUBE, chunks=(2, 3, 2, 3))
    return [NumpySource(CUBE), DaskSource(lazy), ZarrSource.open(stored)]


@pytest.mark.parametrize("source", sources(), ids=lambda one: type(one).__name__)
def test_masks_of_the_last_axes_and_of_all(source: Source, tmp_path: Path) -> None:
    whole = RNG.random((6, 7, 5)) > 0.5
    stored = zarr.create_array(tmp_path / "mask.zarr", data=whole, chunks=(5, 5, 5))
    for mask, expected in [
        (LAND, np.broadcast_to(LAND, (6, 7, 5))),
        (LAND.tolist(), np.broadcast_to(LAND, (6, 7, 5))),
        (whole, whole),
        (whole.astype("u1"), whole),
        (da.from_array(whole, chunks=3), whole),
        (stored, whole),
    ]:
        assert_array_equal(kept(mapped(source, RowMask(mask))), expected)
    row = pd.Series(LAND[0], index=range(7, 12))
    assert_array_equal(kept(mapped(source, RowMask(row))), np.broadcast_to(LAND[0], (6, 7, 5)))
    both = mapped(source, RowMask(whole), Scale(2.0), RowMask(LAND))
    assert_array_equal(kept(both), whole & LAND)


@pytest.mark.parametrize("dims", [("lat", "lon"), ("lon", "lat"), ("time",), ("lon", "time")])
def test_masks_by_the_names_of_axes(dims: tuple[str, ...]) -> None:
    source = NamedSource(CUBE, DIMS, "abc")
    lengths = dict(zip(DIMS, CUBE.shape, strict=False))
    mask = xarray.DataArray(RNG.random([lengths[dim] for dim in dims]) > 0.5, dims=dims)
    samples = xarray.DataArray(np.ones(CUBE.shape[:-1], bool), dims=DIMS)
    expected = (samples & mask).transpose(*DIMS)
    for one in (RowMask(mask), RowMask(mask.values, dims=dims)):
        assert_array_equal(kept(mapped(source, one)), expected)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (lambda: RowMask(LAND[:4]), r"shape \(4, 5\), but the samples .* have \(6, 7, 5\)"),
        (lambda: RowMask(LAND, dims=("lat", "x")), "the mask is along 'x', but .* time, lat, lon"),
        (lambda: RowMask(np.ones((2, 6, 7, 5), bool)), r"shape \(2, 6, 7, 5\)"),
        (lambda: RowMask(LAND * 1.0), "dtype float64; give True"),
        (lambda: RowMask("land"), "give True"),
        (lambda: RowMask(LAND, dims=["lat"]), r"shape \(7, 5\) has the dims \('lat',\)"),
    ],
)
def test_masks_that_do_not_fit(mask: Any, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        mapped(NamedSource(CUBE, DIMS, "abc"), mask())


def test_masks_with_names_need_axes_with_names() -> None:
    mask = xarray.DataArray(np.ones(5, bool), dims=["time"])
    with pytest.raises(SchemaError, match=r"along time, but the sample axes .* have no names"):
        mapped(NumpySource(np.ones((5, 5, 3))), RowMask(mask))
    assert kept(mapped(NumpySource(np.ones((5, 3))), RowMask(mask))).all()


@pytest.mark.parametrize("labelled", [False, True])
def test_lazy_masks_are_not_computed_before_they_are_weighed(labelled: bool) -> None:
    lazy = da.zeros((6, 7, 1 << 30), dtype=bool, chunks=(1, 1, -1))
    mask = RowMask(xarray.DataArray(lazy, dims=DIMS) if labelled else lazy)
    rows = da.zeros((*lazy.shape, 1), chunks=(1, 1, 1 << 20, 1))
    with pytest.raises(SchemaError, match="more than 1,073,741,824 that are computed at once"):
        mapped(DaskSource(rows), mask)


def test_one_step_says_what_groups_there_are() -> None:
    groups = [Groups(np.zeros(6, int)), Groups(np.ones(6, int))]
    with pytest.raises(InputError, match="2 Groups"):
        mapped(NumpySource(CUBE), *groups)


def test_masks_need_places() -> None:
    lazy = da.from_array(CUBE.reshape(-1, 3), chunks=(50, 3))
    unknown = DaskSource(lazy[lazy[:, 0] > 0])
    with pytest.raises(SchemaError, match=r"RowMask has to know where rows lie.*compute_chunk"):
        mapped(unknown, RowMask(np.ones(100, bool)))
    mapped(unknown, Scale(2.0))


@pytest.mark.parametrize("source", sources(), ids=lambda one: type(one).__name__)
def test_what_passes_through(source: Source) -> None:
    twice = mapped(source, Select([2]), Scale(2.0))
    assert twice.local is source.local
    assert twice.schema.sample_chunks == source.schema.sample_chunks
    assert twice.schema.describe == source.schema.describe
    part = twice.partition(range(2))
    assert part.resident is source.partition(range(2)).resident
    assert twice.schema.chunk_bytes * 3 == source.schema.chunk_bytes
    facts, found = source.fingerprint().facts, twice.fingerprint().facts
    assert {name: found[name] for name in facts} == facts
    assert twice.fingerprint().written == source.fingerprint().written


def test_another_mapping_is_another_source() -> None:
    source = NumpySource(CUBE)
    steps = [Scale(2.0), Scale(2.5), Scale(2.0, 1.0), Select([0]), Log([0]), Centre(np.ones(3))]
    steps += [RowMask(LAND), RowMask(~LAND)]
    steps += [RowMask(da.from_array(one, name=False)) for one in (LAND & ~LAND, LAND | ~LAND)]
    prints = [mapped(source, step).fingerprint() for step in steps]
    assert all(one != other for i, one in enumerate(prints) for other in prints[:i])
    assert prints == [mapped(NumpySource(CUBE), step).fingerprint() for step in steps]
    # nor does it matter in what a mask was kept
    assert mapped(source, RowMask(da.from_array(LAND))).fingerprint() in prints


def test_rows_in_memory_are_left_alone() -> None:
    rows = CUBE.copy()
    rows.flags.writeable = False
    chunk = mapped(NumpySource(rows), Scale(2.0), Log([1])).partition(range(1)).open()(0)
    chunk.block.values[:] = 0
    assert_array_equal(rows, CUBE)


def test_what_has_to_be_learned_is_refused() -> None:
    for step in (Standardize(), Centre()):
        with pytest.raises(InputError, match="give it to fit, or take that of a fitted model"):
            dask_em.open_source(CUBE, mapping=[step])
    found = dask_em.open_source(CUBE, mapping=[Scale(2.0)])
    assert_array_equal(found.partition(range(1)).open()(0).block.values, CUBE.reshape(-1, 3) * 2)


@pytest.mark.parametrize("source", sources(), ids=lambda one: type(one).__name__)
def test_moments_of_what_is_kept(source: Source) -> None:
    found, record = moments(mapped(source, RowMask(LAND), Scale(2.0)))
    rows = CUBE[:, LAND].reshape(-1, 3) * 2
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, rows.std(axis=0), rtol=1e-12)
    assert (record.kind, record.rows, record.dropped) == ("moments", len(rows), 0)
    with pytest.raises(dask_em.DataError, match="no row that could tell"):
        moments(mapped(source, RowMask(np.zeros((7, 5), bool))))
