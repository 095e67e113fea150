"""What is particular to arrays in memory, and how loose input becomes a source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import scipy.sparse
import xarray
import zarr

from dask_em.engine.source import Source
from dask_em.errors import DataError, SchemaError, SourceError
from dask_em.sources.arrays import NumpySource
from dask_em.sources.dask import DaskSource
from dask_em.sources.registry import open_source
from dask_em.sources.zarr import ZarrSource
from tests.sources.cases import ROWS, TALL, grid_stores


@pytest.mark.parametrize("values", [TALL, np.asfortranarray(TALL), TALL.reshape(3, 100, 200, 2)])
def test_chunks_are_views(values: Any) -> None:
    source = NumpySource(values)
    partition = source.partition(range(source.schema.n_chunks))
    assert partition.resident
    assert source.local
    for chunk in map(partition.open(), partition.chunks):
        assert np.shares_memory(chunk.block.values, values)


@pytest.mark.parametrize(
    ("shape", "expected"), [((10, 2), 1), ((60_000, 2), 4), ((400_000, 8), 16)]
)
def test_chunks_follow_from_the_data_alone(shape: tuple[int, int], expected: int) -> None:
    schema = NumpySource(np.broadcast_to(0.0, shape)).schema
    assert schema.n_chunks == expected
    assert schema.chunk_bytes <= 32 * 2**20


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(3), "Expected 2D array, got 1D array.*Reshape your data"),
        (np.float64(3), "Expected 2D array, got 0D"),
        (np.ones((3, 0)), r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required"),
        (np.ones((3, 2), complex), "complex128.*Complex data not supported"),
        (np.ones((3, 2), object), r"dtype object.*\.astype\('float64'\)"),
        (np.ones((3, 2)).astype(str), r"dtype <U32.*\.astype\('float64'\)"),
        (np.ones((3, 2), "M8[s]"), r"dtype datetime64\[s\].*timedelta64"),
        (np.zeros((3, 2), [("a", "f8")]), "structured_to_unstructured"),
    ],
)
def test_wrong_arrays(values: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        NumpySource(values)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(100), SchemaError, r"shape \(100,\), expected \(101,\)"),
        (np.ones((101, 1)), SchemaError, r"shape \(101, 1\)"),
        (-np.ones(101), DataError, "101 of 101 weights are negative"),
        (np.full(101, np.nan), DataError, "not finite"),
        (np.zeros(101), DataError, "all 101 weights are zero"),
        (["a"] * 101, SchemaError, "weights have dtype"),
    ],
)
def test_wrong_weights(weights: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        NumpySource(ROWS, weights)


def test_wrong_names() -> None:
    with pytest.raises(SchemaError, match="2 feature names for 3 features"):
        NumpySource(ROWS, feature_names=["a", "b"])


def test_every_kind_of_data_finds_its_source(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    path = grid_stores(tmp_path)
    array = zarr.create_array(tmp_path / "x.zarr", data=ROWS)
    frame = pandas.DataFrame(ROWS, columns=["a", "b", "c"])
    known = NumpySource(ROWS)
    assert open_source(known) is known
    assert isinstance(open_source(ROWS), NumpySource)
    assert isinstance(open_source(ROWS.tolist()), NumpySource)
    assert open_source(frame).schema.feature_names == ("a", "b", "c")
    assert isinstance(open_source(da.from_array(ROWS)), DaskSource)
    found: list[Source] = [
        open_source(tmp_path / "x.zarr"),
        open_source(str(tmp_path / "x.zarr")),
        open_source(array),
        open_source(array.store),
        open_source(zarr.open_group(path), features="u", sample_dims="time"),
    ]
    assert all(isinstance(source, ZarrSource) for source in found)
    assert found[-1].schema.n_features == 35
    weighted = open_source(array, sample_weight=np.arange(101.0))
    assert weighted.partition(range(1)).open()(0).block.mass == 5050


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (3, {}, "int is no place of rows; give a NumPy array"),
        (b"path", {}, "bytes is no place of rows"),
        (None, {}, "NoneType is no place of rows"),
        ([[1, 2], [3]], {}, "list cannot be converted"),
        ([1, 2], {}, "Reshape your data"),
        (scipy.sparse.eye(3), {}, "Sparse data was passed.*toarray"),
        (xarray.Variable(("n", "d"), ROWS), {}, "pass a Dataset or a DataArray"),
        (ROWS, {"features": ["u"]}, "features= was given with numpy.ndarray"),
        (ROWS, {"sample_dims": ["x"]}, "sample_dims= was given with"),
        (da.ones((4, 2)), {"storage_options": {}}, "storage_options= was given with"),
        (NumpySource(ROWS), {"sample_weight": np.ones(101)}, "give the weights to the source"),
    ],
)
def test_what_is_not_accepted(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        open_source(data, **options)


def test_a_missing_path() -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source("/no/such/store.zarr")


def test_arrays_in_memory_import_neither_dask_nor_zarr() -> None:
    code = (
        "import sys, numpy as np; from dask_em.sources.registry import open_source;"
        "open_source(np.ones((4, 2))).partition(range(1)).open()(0);"
        "print([name for name in ('dask', 'zarr', 'pandas') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
