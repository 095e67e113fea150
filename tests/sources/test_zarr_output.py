"""Stores that are written region by region."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from dask_em.engine.source import Partition, Schema, Source
from dask_em.errors import InputError, SchemaError, SourceError
from dask_em.sources.apart import check_outputs
from dask_em.sources.arrays import NumpySource
from dask_em.sources.grid import Grid
from dask_em.sources.zarr import ZarrSource
from dask_em.sources.zarr_output import Planned, create_outputs

VALUES = np.arange(7 * 5).reshape(7, 5)


def schema(*lengths: tuple[int, ...]) -> Schema:
    shape = tuple(sum(axis) for axis in lengths)
    cells = int(np.prod([len(axis) for axis in lengths]))
    return Schema(2, np.dtype(float), shape, cells, 0, None, "the rows", sample_chunks=lengths)


ROWS = schema((3, 3, 1), (5,))


class Described(Source):
    """A source that nobody reads."""

    def __init__(self, given: Schema) -> None:
        self.schema = given

    def partition(self, chunks: range) -> Partition:
        return NumpySource(np.zeros((1, 2))).partition(chunks)


@contextmanager
def created(url: Any, given: Schema, trailing: Any = (), **options: Any) -> Iterator[Any]:
    how = {name: options.pop(name) for name in ("overwrite",) if name in options}
    axes = ("component",) * len(trailing)
    one = Planned(url, **{"name": "labels", "dtype": "i2", **options}, trailing=trailing, axes=axes)
    with create_outputs([one], Described(given), **how) as outputs:
        (output,) = outputs.arrays
        yield output


def write(url: Any, given: Schema = ROWS, values: Any = VALUES, **options: Any) -> None:
    assert given.sample_chunks is not None
    assert given.sample_shape is not None
    grid = Grid(given.sample_shape, given.sample_chunks)
    with created(url, given, values.shape[2:], **options) as output:
        copy = pickle.loads(pickle.dumps(output))
        for index in range(grid.n_cells):
            region = grid.region(index)
            copy.write(region, values[region])


def test_is_what_was_written(tmp_path: Path) -> None:
    named = replace(ROWS, sample_dims=("y", "x"))
    write(tmp_path / "out.zarr", named, attributes={"units": "1"})
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
        created(tmp_path / "out.zarr", unknown),
    ):
        pass


def test_no_rows(tmp_path: Path) -> None:
    write(tmp_path / "out.zarr", schema((), (5,)), VALUES[:0])
    assert zarr.open_array(tmp_path / "out.zarr", path="labels").shape == (0, 5)


def write_in_part(url: Any, **options: Any) -> None:
    with created(url, ROWS, **options) as output:
        output.write((slice(0, 3), slice(0, 5)), VALUES[:3] + 9)
        raise RuntimeError("on purpose")


@pytest.mark.parametrize("local", [True, False])
def test_failure_leaves_nothing(tmp_path: Path, local: bool) -> None:
    url = tmp_path / "out.zarr" if local else "memory://failure/out.zarr"
    with pytest.raises(RuntimeError, match="on purpose"):
        write_in_part(url)
    check_outputs([url])  # nothing is there
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
        created(tmp_path / "out.zarr", ROWS) as output,
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


def write_two(urls: list[Any], value: int = 1, **options: Any) -> None:
    planned = [Planned(url, "labels", "i2") for url in urls]
    with create_outputs(planned, Described(ROWS), **options) as outputs:
        for output in outputs.arrays:
            output.write((slice(0, 3), slice(0, 5)), np.full((3, 5), value))


def refuse(monkeypatch: pytest.MonkeyPatch, *targets: Path) -> None:
    """Let nothing be renamed to some places."""
    rename = os.replace

    def scripted(source: Any, target: Any) -> None:
        if Path(target) in targets:
            raise PermissionError(13, "scripted")
        rename(source, target)

    monkeypatch.setattr(os, "replace", scripted)


def first(url: Any) -> Any:
    array: Any = zarr.open_group(url, mode="r")["labels"]
    return array[0, 0]


def test_all_outputs_are_placed_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one.zarr", tmp_path / "other.zarr"
    with monkeypatch.context() as scripted:
        refuse(scripted, other)
        message = "other.zarr cannot be written .*scripted.* nor is another output made"
        with pytest.raises(SourceError, match=message):
            write_two([one, other])
    assert not list(tmp_path.iterdir())
    write_two([one, other])
    assert first(one) == first(other) == 1


def test_what_was_replaced_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one.zarr", tmp_path / "other.zarr"
    write_two([one], 1)
    with monkeypatch.context() as scripted:
        refuse(scripted, other)
        with pytest.raises(SourceError, match="nor is another output made"):
            write_two([one, other], 2, overwrite=True)
    assert first(one) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["one.zarr"]


def test_a_first_output_that_cannot_be_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one.zarr", tmp_path / "other.zarr"
    write_two([one, other], 1)
    refuse(monkeypatch, one)
    with pytest.raises(SourceError, match="one.zarr"):
        write_two([other, tmp_path / "one.zarr"], 2, overwrite=True)
    assert first(other) == 1


@pytest.mark.parametrize("replaces", [False, True])
def test_a_remote_output_goes_unless_it_replaced_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaces: bool
) -> None:
    url, other = f"memory://placed-{replaces}/one.zarr", tmp_path / "other.zarr"
    if replaces:
        write_two([url], 1)
    refuse(monkeypatch, other)
    message = "but .*one.zarr is whole and stays" if replaces else "nor is another output made"
    with pytest.raises(SourceError, match=message):
        write_two([url, other], 2, overwrite=replaces)
    assert not list(tmp_path.iterdir())
    if replaces:
        assert first(url) == 2
    else:
        check_outputs([url])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x.zarr", "./x.zarr"),
        ("x.zarr", "{here}/x.zarr"),
        ("x.zarr", "file://{here}/x.zarr"),
        ("x.zarr", "link/x.zarr"),
        ("x.zarr", "folder/../x.zarr/"),
        ("x.zarr", "x.zarr/inside"),
        ("x.zarr/inside/deep", "x.zarr"),
        ("memory://a/x.zarr", "memory:///a//x.zarr/"),
        ("memory://a/x.zarr", "memory://a/./x.zarr/y"),
    ],
)
def test_outputs_in_one_place_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="give each a store of its own"):
        write_two([one, other.format(here=tmp_path)])
    assert sorted(tmp_path.iterdir()) == before


def test_outputs_beside_each_other_are_not(tmp_path: Path) -> None:
    check_outputs([tmp_path / "x.zarr", tmp_path / "x.zarr2", "memory://x.zarr", "memory://x"])


def stored(url: str) -> None:
    group = zarr.create_group(f"{url}/x.zarr")
    for name in ("u", "v"):
        group.create_array(f"deep/{name}", data=np.zeros((4, 2)))


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("given", ["path", "object"])
def test_outputs_stay_apart_from_what_is_read(tmp_path: Path, local: bool, given: str) -> None:
    folder = str(tmp_path) if local else f"memory://read-{given}"
    stored(folder)
    deep = f"{folder}/x.zarr/deep"
    opened = deep if given == "path" else zarr.open_group(f"{folder}/x.zarr", mode="r")["deep"]
    source = ZarrSource.open(opened, features=["u", "v"])
    inside = [deep, f"{deep}/u", f"{deep}/new", f"{deep}/u/new", f"{folder}/x.zarr", folder]
    for url in inside if local else [*inside, f"{folder}/./x.zarr"]:
        with pytest.raises(InputError, match="apart from it"):
            check_outputs([url], overwrite=True, source=source)
    check_outputs([f"{folder}/labels.zarr", f"{folder}/x"], source=source)
    by_file = ZarrSource.open(f"file://{deep}" if local else deep, features=["u", "v"])
    with pytest.raises(InputError, match="apart from it"):
        check_outputs([f"{deep}/new"], source=by_file)


def test_a_store_that_is_a_folder_of_stores_is_no_hierarchy(tmp_path: Path) -> None:
    stored(str(tmp_path))
    root = zarr.storage.LocalStore(tmp_path)
    source = ZarrSource.open(zarr.open_array(root, path="x.zarr/deep/u", mode="r"))
    check_outputs([tmp_path / "labels.zarr"], source=source)
    with pytest.raises(InputError, match="apart from it"):
        check_outputs([tmp_path / "x.zarr" / "labels"], source=source)


def test_a_zip_file_is_a_store(tmp_path: Path) -> None:
    with zarr.storage.ZipStore(tmp_path / "x.zip", mode="w") as store:
        zarr.create_array(store, data=np.zeros((4, 2)))
    source = ZarrSource.open(tmp_path / "x.zip")
    with pytest.raises(InputError, match="apart from it"):
        check_outputs([tmp_path / "x.zip"], overwrite=True, source=source)
