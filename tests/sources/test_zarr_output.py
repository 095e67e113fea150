"""Stores that are written region by region."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from dask_em.engine.source import Schema
from dask_em.errors import SchemaError, SourceError
from dask_em.sources.grid import Grid
from dask_em.sources.zarr_output import check_output, create_output

VALUES = np.arange(7 * 5).reshape(7, 5)


def schema(*lengths: tuple[int, ...]) -> Schema:
    shape = tuple(sum(axis) for axis in lengths)
    cells = int(np.prod([len(axis) for axis in lengths]))
    return Schema(2, np.dtype(float), shape, cells, 0, None, "the rows", sample_chunks=lengths)


ROWS = schema((3, 3, 1), (5,))


def write(url: Any, given: Schema = ROWS, values: Any = VALUES, **options: Any) -> None:
    columns = None if values.ndim == 2 else values.shape[2]
    assert given.sample_chunks is not None
    assert given.sample_shape is not None
    grid = Grid(given.sample_shape, given.sample_chunks)
    options = {"name": "labels", "dtype": "int16", **options}
    with create_output(url, given, columns, **options) as output:
        copy = pickle.loads(pickle.dumps(output))
        for index in range(grid.n_cells):
            region = grid.region(index)
            copy.write(region, values[region])


def test_is_what_was_written(tmp_path: Path) -> None:
    write(tmp_path / "out.zarr", dims=("y", "x"), attributes={"units": "1"})
    labels = xarray.open_zarr(tmp_path / "out.zarr").labels
    assert labels.dims == ("y", "x")
    assert labels.dtype == "int16"
    assert labels.units == "1"
    assert zarr.open_array(tmp_path / "out.zarr", path="labels").chunks == (3, 5)
    np.testing.assert_array_equal(labels, VALUES)


def test_columns(tmp_path: Path) -> None:
    values = np.stack([VALUES, -VALUES], axis=-1)
    write(tmp_path / "out.zarr", values=values, name="probabilities", dtype="f4")
    found = xarray.open_zarr(tmp_path / "out.zarr").probabilities
    assert found.dims == ("axis_0", "axis_1", "component")
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("lengths", "chunk"),
    [((7,), 7), ((4, 2, 1), 2), ((2, 2, 3), 2), ((2, 5), 2), ((1,) * 7, 1)],
)
def test_no_two_regions_share_a_chunk(tmp_path: Path, lengths: Any, chunk: int) -> None:
    write(tmp_path / "out.zarr", schema(lengths, (5,)))
    array = zarr.open_array(tmp_path / "out.zarr", path="labels")
    assert array.chunks[0] == chunk
    np.testing.assert_array_equal(array[:], VALUES)


def test_irregular_chunks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"lengths 50, 1, 50.*rechunk\(\{0: 50\}\)"):
        write(tmp_path / "out.zarr", schema((50, 1, 50)), np.zeros((101, 1)))
    assert not list(tmp_path.iterdir())


def test_unknown_chunks_are_refused(tmp_path: Path) -> None:
    unknown = Schema(2, np.dtype(float), None, 3, 0, None, "the rows")
    with (
        pytest.raises(SchemaError, match="compute_chunk_sizes"),
        create_output(tmp_path / "out.zarr", unknown, None, "i2", name="labels"),
    ):
        pass


def test_no_rows(tmp_path: Path) -> None:
    write(tmp_path / "out.zarr", schema((), (5,)), VALUES[:0])
    assert zarr.open_array(tmp_path / "out.zarr", path="labels").shape == (0, 5)


def write_in_part(url: Any, **options: Any) -> None:
    with create_output(url, ROWS, None, "i2", name="labels", **options) as output:
        output.write((slice(0, 3), slice(0, 5)), VALUES[:3] + 9)
        raise RuntimeError("on purpose")


@pytest.mark.parametrize("local", [True, False])
def test_failure_leaves_nothing(tmp_path: Path, local: bool) -> None:
    url = tmp_path / "out.zarr" if local else "memory://failure/out.zarr"
    with pytest.raises(RuntimeError, match="on purpose"):
        write_in_part(url)
    check_output(url)  # nothing is there
    assert not list(tmp_path.iterdir())


def test_failure_keeps_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out.zarr")
    with pytest.raises(RuntimeError, match="on purpose"):
        write_in_part(tmp_path / "out.zarr", overwrite=True)
    found = zarr.open_array(tmp_path / "out.zarr", path="labels")
    np.testing.assert_array_equal(found, VALUES)


def test_writing_that_was_given_up_makes_no_folders(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        create_output(tmp_path / "out.zarr", ROWS, None, "i2", name="labels") as output,
    ):
        raise RuntimeError
    with pytest.raises(SourceError, match="all workers mount"):
        output.write((slice(0, 3), slice(0, 5)), VALUES[:3])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("local", [True, False])
def test_only_outputs_are_overwritten(tmp_path: Path, local: bool) -> None:
    url = str(tmp_path / "out.zarr") if local else "memory://overwritten/out.zarr"
    write(url)
    with pytest.raises(SourceError, match=r"exists; pass overwrite=True \(--overwrite\)"):
        write(url)
    write(url, values=VALUES + 1, overwrite=True)
    np.testing.assert_array_equal(zarr.open_group(url, mode="r")["labels"], VALUES + 1)
    other = f"{url}-other"
    zarr.create_array(other, data=VALUES)
    with pytest.raises(SourceError, match="was not written by dask_em"):
        write(other, overwrite=True)


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot be written"):
        write(tmp_path / "file" / "out.zarr")
