"""What is particular to Zarr: names, layouts, broken chunks, wrong input, real data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from dask_em.core.records import Array
from dask_em.errors import ChunkError, DataError, SchemaError, SourceError
from dask_em.sources.zarr import ZarrSource
from tests.sources.cases import CUBE, CUBE_WEIGHTS, FLAT, ROWS, grid_stores

GRID = ["time", "y", "x"]


def values(source: ZarrSource) -> Array:
    partition = source.partition(range(source.schema.n_chunks))
    parts = [
        (chunk.positions(source.schema.sample_shape), chunk.block.values)
        for chunk in map(partition.open(), partition.chunks)
    ]
    order = np.argsort(np.concatenate([positions for positions, _ in parts]))
    return np.concatenate([rows for _, rows in parts])[order]


@pytest.fixture
def group(tmp_path: Path) -> Path:
    return grid_stores(tmp_path)


def test_every_way_to_name_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.zarr"
    array = zarr.create_array(path, data=ROWS, chunks=(10, 3))
    with zarr.storage.ZipStore(tmp_path / "x.zip", mode="w") as zipped:
        zarr.create_array(zipped, data=ROWS, chunks=(10, 3))
    monkeypatch.chdir(tmp_path)
    ways = [path, str(path), "x.zarr", path.as_uri(), array, array.store, tmp_path / "x.zip"]
    for way in ways:
        assert np.array_equal(values(ZarrSource.open(way)), ROWS)


def test_a_relative_path_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    zarr.create_array(tmp_path / "x.zarr", data=ROWS)
    monkeypatch.chdir(tmp_path)
    source = ZarrSource.open("x.zarr")
    monkeypatch.chdir(tmp_path / "other")
    assert np.array_equal(values(source), ROWS)


def test_a_memory_url_is_local() -> None:
    store = zarr.storage.FsspecStore.from_url("memory://local/x.zarr", read_only=False)
    zarr.create_array(store, data=ROWS)
    assert ZarrSource.open("memory://local/x.zarr").local


def test_a_group_of_one_array_is_that_array(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "g.zarr", mode="w")
    root.create_array("x", data=ROWS)
    for features in (None, ["x"]):
        source = ZarrSource.open(tmp_path / "g.zarr", features=features)
        assert source.schema.feature_names is None
        assert np.array_equal(values(source), ROWS)


def test_features_are_named_by_coordinates(group: Path) -> None:
    schema = ZarrSource.open(group, features=["u", "t"], sample_dims=GRID).schema
    assert schema.feature_names == ("u", "t[level=200]", "t[level=850]")
    schema = ZarrSource.open(group, features=["t"], sample_dims=["level", "x"]).schema
    assert schema.n_features == 42
    assert schema.feature_names is not None
    assert schema.feature_names[:2] == ("t[0,0]", "t[0,1]")
    assert schema.describe == f"Zarr group {group}"


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_xarray_wrote_is_read_as_xarray_reads_it(tmp_path: Path, zarr_format: int) -> None:
    packed = {"dtype": "i2", "scale_factor": 0.5, "add_offset": 1.0, "_FillValue": -99}
    data = np.where(np.arange(12.0) == 3, np.nan, np.arange(12.0)).reshape(4, 3)
    counts = np.arange(12, dtype="i4").reshape(4, 3)
    huge = float(np.float32(1e20))
    missing = np.where(counts == 5, huge, counts).astype("f4")
    dataset = xarray.Dataset(
        {
            "packed": (("row", "band"), data),
            "counts": (("row", "band"), counts),
            "missing": (("row", "band"), missing, {"missing_value": huge}),
        }
    )
    path = tmp_path / "x.zarr"
    dataset.to_zarr(path, zarr_format=zarr_format, consolidated=False, encoding={"packed": packed})
    names = ["packed", "counts", "missing"]
    source = ZarrSource.open(path, features=names, sample_dims=["row"])
    with xarray.open_zarr(path, consolidated=False) as opened:
        expected = np.concatenate([opened[name].to_numpy() for name in names], axis=1)
    assert np.isnan(expected).sum() == 2
    np.testing.assert_array_equal(values(source), expected)


def test_chunks_of_several_arrays_are_read_in_common_multiples(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "g.zarr", mode="w")
    root.create_array("a", data=ROWS[:, 0], chunks=(4,))
    root.create_array("b", data=ROWS[:, 1], chunks=(6,))
    source = ZarrSource.open(tmp_path / "g.zarr", features=["a", "b"], limit_bytes=24 * 16)
    assert source.schema.n_chunks == 5
    assert np.array_equal(values(source), ROWS[:, :2])


def test_chunks_that_straddle_are_announced_and_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask_em.sources.tiling.JOINED_BYTES", 1000)
    monkeypatch.setattr("dask_em.sources.tiling.TARGET_BYTES", 500)
    group = zarr.create_group(tmp_path / "g.zarr")
    for name, chunk in (("a", 30), ("b", 31)):
        group.create_array(name, data=np.arange(200.0), chunks=(chunk,))
    zarr.create_array(tmp_path / "w.zarr", data=np.arange(200.0), chunks=(50,))
    with pytest.warns(UserWarning, match=r"array b .* decoded about 2 times .*rechunk"):
        source = ZarrSource.open(tmp_path / "g.zarr", features=["a", "b"])
    assert source.schema.decoding_bytes == 31 * 8
    np.testing.assert_array_equal(values(source)[:, 1], np.arange(200.0))
    with pytest.warns(UserWarning, match=r"of weights .* decoded about 3 times"):
        weighed = ZarrSource.open(tmp_path / "g.zarr", features=["a"], weights=tmp_path / "w.zarr")
    assert weighed.schema.decoding_bytes == 50 * 8


class Recording:
    """An array that remembers what was asked of it."""

    def __init__(self, array: zarr.Array) -> None:
        self.array, self.asked = array, []

    def __getattr__(self, name: str) -> object:
        return getattr(self.array, name)

    def __getitem__(self, selection: tuple[slice, ...]) -> np.ndarray:
        self.asked.append(selection)
        return self.array[selection]


@pytest.mark.parametrize("dims", [None, ("feature", "row")])
def test_long_chunks_of_few_features_are_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dims: tuple[str, str] | None
) -> None:
    rows = np.arange(100 * 11.0).reshape(100, 11)
    stored, chunks = (rows, (40, 3)) if dims is None else (rows.T, (3, 40))
    made = {"data": stored, "chunks": chunks, "dimension_names": dims}
    zarr.create_array(tmp_path / "x.zarr", **made)
    options = {"sample_dims": None if dims is None else ["row"]}
    assert ZarrSource.open(tmp_path / "x.zarr", **options).schema.decoding_bytes == 0
    monkeypatch.setattr("dask_em.sources.tiling.JOINED_BYTES", 40 * 11 * 8 - 1)
    monkeypatch.setattr("dask_em.sources.tiling.PART_BYTES", 40 * 11 * 8 // 2)
    monkeypatch.setattr("dask_em.sources.tiling.TARGET_BYTES", 500)
    with pytest.warns(UserWarning, match=r"hold \(40,\) rows.*\(20,\) rows .* 2 times a pass"):
        source = ZarrSource.open(tmp_path / "x.zarr", **options)
    assert source.schema.n_chunks == 5
    assert source.schema.chunk_bytes == 20 * 11 * 8
    assert source.schema.decoding_bytes == 8 * 40 * 3 * 8
    np.testing.assert_array_equal(values(source), rows)
    # one chunk is decoded at a time, and only where parts of chunks are wanted
    (column,) = source._columns
    recording = Recording(column.array)
    column = replace(column, array=recording)
    np.testing.assert_array_equal(column.read((slice(20, 40),)), rows[20:40])
    assert len(recording.asked) == 4
    np.testing.assert_array_equal(column.read((slice(0, 40),)), rows[:40])
    assert len(recording.asked) == 5


def test_chunks_of_all_features_are_not_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part would save nothing: the chunk is decoded as a whole."""
    monkeypatch.setattr("dask_em.sources.tiling.JOINED_BYTES", 1000)
    monkeypatch.setattr("dask_em.sources.tiling.TARGET_BYTES", 500)
    zarr.create_array(tmp_path / "x.zarr", data=np.ones((100, 11)), chunks=(40, 11))
    assert ZarrSource.open(tmp_path / "x.zarr").schema.chunk_bytes == 40 * 11 * 8 > 1000


def test_arrays_of_one_feature_are_not_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would be decoded several times, and all of them beside each other."""
    monkeypatch.setattr("dask_em.sources.tiling.JOINED_BYTES", 1000)
    monkeypatch.setattr("dask_em.sources.tiling.PART_BYTES", 500)
    monkeypatch.setattr("dask_em.sources.tiling.TARGET_BYTES", 500)
    group, names = zarr.create_group(tmp_path / "g.zarr"), [f"v{i}" for i in range(8)]
    for name in names:
        group.create_array(name, data=np.arange(100.0), chunks=(40,))
    schema = ZarrSource.open(tmp_path / "g.zarr", features=names).schema
    assert (schema.n_chunks, schema.chunk_bytes, schema.decoding_bytes) == (3, 40 * 8 * 8, 0)


def test_columns_are_decoded_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask_em.sources.tiling.JOINED_BYTES", 1000)
    monkeypatch.setattr("dask_em.sources.tiling.PART_BYTES", 500)
    monkeypatch.setattr("dask_em.sources.tiling.TARGET_BYTES", 500)
    group = zarr.create_group(tmp_path / "g.zarr")
    for name, width in (("a", 3), ("b", 2)):
        group.create_array(
            name, data=np.ones((100, 12)), chunks=(40, width), dimension_names=["row", name]
        )
    with pytest.warns(UserWarning, match="read at a time, and each chunk is decoded"):
        source = ZarrSource.open(tmp_path / "g.zarr", features=["a", "b"], sample_dims=["row"])
    assert source.schema.decoding_bytes == 8 * 40 * 3 * 8


def test_weights_are_read_in_common_multiples_too(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", data=np.ones((600, 2)), chunks=(20, 2))
    zarr.create_array(tmp_path / "w.zarr", data=np.ones(600), chunks=(30,))
    source = ZarrSource.open(tmp_path / "x.zarr", weights=tmp_path / "w.zarr")
    assert source.schema.decoding_bytes == 0


def test_weights_by_path_object_and_array(group: Path, tmp_path: Path) -> None:
    flat = zarr.create_array(tmp_path / "w.zarr", data=CUBE_WEIGHTS)
    for weights in ("weight", tmp_path / "w.zarr", flat, CUBE_WEIGHTS, CUBE_WEIGHTS.ravel()):
        source = ZarrSource.open(group, features=["u"], sample_dims=GRID, weights=weights)
        partition = source.partition(range(source.schema.n_chunks))
        found = [chunk.block.weights for chunk in map(partition.open(), partition.chunks)]
        assert np.array_equal(np.concatenate(found), CUBE_WEIGHTS.ravel())


def test_stored_weights_are_checked_by_chunk(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", data=ROWS)
    zarr.create_array(tmp_path / "w.zarr", data=np.where(np.arange(101) == 7, np.nan, 1))
    source = ZarrSource.open(tmp_path / "x.zarr", weights=tmp_path / "w.zarr")
    with pytest.raises(DataError, match=r"weights of chunk c/0/0: 1 of 101 .* at row 7"):
        source.partition(range(1)).open()(0)


def files_of(array: zarr.Array[Any], path: Path) -> list[Path]:
    return [path / array.metadata.encode_chunk_key(place) for place in [(1, 0), (2, 0)]]


@pytest.mark.parametrize(
    ("options", "damage", "message"),
    [
        ({}, lambda raw: raw[:-7], r"chunk t/c/1/0, t/c/2/0 cannot be decoded \("),
        # Blosc, the default of format 2, reads past the end of a chunk that lacks a few bytes
        ({"zarr_format": 2}, lambda raw: raw[:9], r"chunk t/1.0, t/2.0 cannot be decoded \("),
        ({"compressors": None}, lambda raw: raw[:-7], r"t/c/1/0, t/c/2/0 cannot be decoded"),
        ({"shards": (20, 3)}, lambda raw: raw[:-7], r"chunk t/c/1/0, t/c/2/0 cannot be decoded"),
        ({}, lambda raw: b"", r"chunk t/c/1/0, t/c/2/0 cannot be decoded"),
    ],
)
def test_broken_chunks_are_named(
    tmp_path: Path, options: dict[str, Any], damage: Any, message: str
) -> None:
    given = dict(options)
    root = zarr.open_group(tmp_path / "g.zarr", mode="w", zarr_format=given.pop("zarr_format", 3))
    array = root.create_array("t", data=ROWS, chunks=(10, 3), **given)
    for file in files_of(array, tmp_path / "g.zarr" / "t"):
        file.write_bytes(damage(file.read_bytes()))
    source = ZarrSource.open(tmp_path / "g.zarr")
    assert source.schema.n_chunks == 1
    with pytest.raises(ChunkError, match=message + '.*on_bad_chunk="skip"'):
        source.partition(range(1)).open()(0)


def test_one_broken_cell_leaves_the_others(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "x.zarr", data=ROWS, chunks=(10, 3))
    file, _ = files_of(array, tmp_path / "x.zarr")
    file.write_bytes(file.read_bytes()[:20])
    source = ZarrSource.open(tmp_path / "x.zarr", limit_bytes=240)
    read = source.partition(range(11)).open()
    with pytest.raises(ChunkError, match="chunk c/1/0 cannot be decoded"):
        read(1)
    assert [read(index).name for index in (0, 2)] == ["chunk c/0/0", "chunk c/2/0"]


def test_a_missing_store_names_the_nearest_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"does not exist.*{tmp_path}. Check"):
        ZarrSource.open(tmp_path / "none" / "x.zarr")


def test_what_is_not_zarr(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("text")
    for place in (tmp_path, tmp_path / "file.txt"):
        with pytest.raises(SourceError, match="holds no Zarr array or group"):
            ZarrSource.open(place)
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(SourceError, match="cannot be opened as Zarr"):
        ZarrSource.open(tmp_path)
    with pytest.raises(SourceError, match="nosuchprotocol.*check its protocol"):
        ZarrSource.open("nosuchprotocol://x/y.zarr")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"holds 5 arrays: level \(2,\), t \(6, 2, 7, 5\).*features=\['t', 'u'\]"),
        ({"features": []}, "holds 5 arrays"),
        ({"features": ["nope"]}, "holds no array 'nope'.*holds 5 arrays"),
        ({"features": ["u", "t"]}, "u and t have different dimensions.*sample_dims"),
        ({"features": ["u", "t"], "sample_dims": ["level"]}, "array u has dim.*lacks .level"),
        ({"features": ["u"], "sample_dims": ["x", "x"]}, "names a dimension twice"),
        ({"features": ["u"], "sample_dims": []}, "no sample axis"),
        ({"features": ["u"], "weights": np.ones(4)}, r"shape \(4,\), expected \(210,\)"),
        ({"features": ["u"], "weights": "level"}, r"sample_weight has shape \(2,\)"),
        ({"features": ["u"], "storage_options": {"anon": True}}, "storage_options are for URLs"),
    ],
)
def test_wrong_calls_on_a_group(group: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        ZarrSource.open(group, **options)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (np.ones(5), {}, r"shape \(5,\) and no feature axis.*\(rows, 1\)"),
        (np.ones((5, 0)), {}, r"0 feature\(s\)"),
        (np.ones((5, 2), "c8"), {}, "Complex data not supported"),
        (np.ones((5, 2), "M8[s]"), {}, "datetime64.*timedelta64"),
        (np.ones((5, 2)), {"features": ["x"]}, "names arrays of a group"),
        (np.ones((5, 2)), {"sample_dims": ["x"]}, "no dimension names"),
        (np.ones((5, 2)), {"weights": -np.ones(5)}, None),
    ],
)
@pytest.mark.filterwarnings("ignore:The data type")
def test_wrong_arrays(
    tmp_path: Path, data: Array, options: dict[str, Any], message: str | None
) -> None:
    zarr.create_array(tmp_path / "x.zarr", data=data)
    with pytest.raises(SchemaError if message else DataError, match=message or "negative"):
        ZarrSource.open(tmp_path / "x.zarr", **options)


def test_dimensions_of_different_length(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "g.zarr", mode="w")
    root.create_array("a", data=np.ones((4, 2)), dimension_names=["x", "y"])
    root.create_array("b", data=np.ones((5, 2)), dimension_names=["x", "y"])
    with pytest.raises(SchemaError, match=r"a and b disagree.*\(x\): \(4,\) and \(5,\)"):
        ZarrSource.open(tmp_path / "g.zarr", features=["a", "b"], sample_dims=["x"])


def test_a_broken_attribute(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "x.zarr", data=ROWS)
    array.attrs["scale_factor"] = "half"
    with pytest.raises(SchemaError, match="scale_factor of array at the root is 'half'"):
        ZarrSource.open(tmp_path / "x.zarr")


def test_a_chunk_that_is_too_large_says_how_to_rechunk(tmp_path: Path, group: Path) -> None:
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=CUBE, chunks=CUBE.shape)
    with pytest.raises(SchemaError, match="the limit is.*rechunk it first: ") as caught:
        ZarrSource.open(path, limit_bytes=1000)
    array = eval(str(caught.value).split("first: ")[1].replace("rechunked", f"{tmp_path}/new"))
    assert np.array_equal(values(ZarrSource.open(array, limit_bytes=1000)), FLAT)
    with pytest.raises(SchemaError, match="rechunk it first: ") as caught:
        ZarrSource.open(group, features=["u", "t"], sample_dims=GRID, limit_bytes=1000)
    call = str(caught.value).split("first: ")[1].replace("rechunked", f"{tmp_path}/new2")
    eval(call.replace('.zarr")', '.zarr", consolidated=False)'))
    new = ZarrSource.open(
        tmp_path / "new2.zarr", features=["u", "t"], sample_dims=GRID, limit_bytes=1000
    )
    assert np.array_equal(values(new), FLAT)


def test_argo_profiles(shared_data: Path) -> None:
    path = shared_data / "argo_profiles.zarr"
    source = ZarrSource.open(path, features=["temperature", "salinity"], sample_dims=["profile"])
    schema = source.schema
    assert (schema.n_features, schema.n_rows, schema.dtype) == (200, 6757, np.float32)
    assert schema.feature_names is not None
    assert schema.feature_names[0] == "temperature[pressure=10]"
    assert np.isfinite(values(source)).all(axis=1).sum() == 2454


def test_era_interim(shared_data: Path) -> None:
    path = shared_data / "era_interim_uvz.zarr"
    dims = ["month", "latitude", "longitude"]
    source = ZarrSource.open(path, features=["u", "v", "z"], sample_dims=dims)
    assert (source.schema.n_features, source.schema.n_rows) == (9, 2 * 241 * 480)
    assert source.schema.feature_names is not None
    assert source.schema.feature_names[5] == "v[level=850]"
    with xarray.open_zarr(path, consolidated=False) as dataset:
        expected = [dataset[name].transpose(*dims, "level").to_numpy() for name in "uvz"]
    assert np.array_equal(values(source), np.concatenate(expected, axis=-1).reshape(-1, 9))


def test_a_bad_chunk_of_a_joined_cell_costs_its_own_rows(tmp_path):
    rows = np.arange(800.0).reshape(400, 2)
    weights = np.arange(400.0) + 1
    zarr.create_array(tmp_path / "x.zarr", data=rows, chunks=(10, 2))
    (tmp_path / "x.zarr" / "c" / "7" / "0").write_bytes(b"not zstd")
    source = ZarrSource.open(tmp_path / "x.zarr", weights=weights)
    assert source.schema.n_chunks == 1
    partition = source.partition(range(1))
    with pytest.raises(ChunkError, match="c/7/0"):
        partition.open()(0)
    chunks, bad = partition.salvage(0)
    assert bad == 1
    good = np.r_[0:70, 80:400]
    np.testing.assert_array_equal(np.concatenate([c.block.values for c in chunks]), rows[good])
    found = np.concatenate([c.block.weights for c in chunks])
    np.testing.assert_array_equal(found, weights[good])
    places = np.concatenate([c.positions(source.schema.sample_shape) for c in chunks])
    np.testing.assert_array_equal(places, good)
