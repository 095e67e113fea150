"""What is particular to xarray: what is refused, what is read, what comes back."""

from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from dask_em import GaussianMixture
from dask_em.engine.query import Filled, Label, Probability
from dask_em.errors import ChunkError, DataError, InputError, SchemaError, SourceError
from dask_em.sources.registry import in_memory, open_source
from dask_em.sources.xarray.lazy import Lazy, view_of
from dask_em.sources.xarray.source import XarraySource
from dask_em.sources.xarray.views import Resident, StoredView
from dask_em.sources.zarr import ZarrSource
from tests.sources.xarray_cases import (
    AREA,
    CUBE,
    GRID,
    PACKED,
    area,
    chunked,
    dataset,
    lazily,
    netcdf,
    stored,
)

FEATURES = {"features": ["t", "s"], "sample_dims": GRID}


def rows_of(source: XarraySource) -> np.ndarray:
    partition = source.partition(range(source.schema.n_chunks))
    return np.concatenate([chunk.block.values for chunk in map(partition.open(), partition.chunks)])


def view(source: XarraySource, column: int = 0) -> Any:
    return source._columns[column].array


def text() -> xr.Dataset:
    return xr.Dataset({"word": ("n", np.array(["a", "b"], dtype=object)), "x": ("n", [1.0, 2.0])})


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (dataset, {}, "variables with different dimensions.*features="),
        (dataset, {"features": ["tt"]}, "no variable 'tt'; did you mean 't'"),
        (dataset, {"features": ["t"], "sample_dims": ["tme"]}, "no dimension 'tme'.*'time'"),
        (dataset, {"features": ["t"], "sample_dims": ["time", "time"]}, "twice"),
        (dataset, {"features": ["t", "t"]}, "names a variable twice"),
        (dataset, {"features": []}, "features is empty"),
        (dataset, {"features": ["t"], "sample_dims": []}, "sample_dims is empty"),
        (dataset, {"features": ["t", "depth"]}, "different dimensions.*sample_dims="),
        (dataset, {"features": ["t", "run"], "sample_dims": GRID}, "run .*single number"),
        (dataset, {"features": ["depth"], "sample_dims": GRID}, "no variable .* dimension time"),
        (dataset, {"features": ["t", "lev"], "sample_dims": GRID}, "lev .*none of sample_dims"),
        (dataset, {"features": ["t", "time"], "sample_dims": GRID}, "time has dtype datetime64"),
        (lambda: dataset().isel(time=0), {**FEATURES}, r"but a single time.*isel\(time=\[0\]\)"),
        (text, {"features": ["word"]}, "word has dtype object.*convert first"),
        (lambda: text()[["word"]], {}, "no numeric data variable: word"),
        (lambda: dataset()[["depth"]], {"sample_dims": ["time"]}, "no dimension 'time'"),
        (lambda: dataset().isel(lev=slice(0, 0)), {**FEATURES}, r"0 feature\(s\) along lev"),
        (lambda: dataset().t.isel(lat=0, lon=0), {}, "1 dimension.*sample_dims"),
        (lambda: dataset().t, {"features": ["t"]}, "one array; leave it out"),
        (lambda: dataset().run, {}, r"0 dimension\(s\)"),
    ],
)
def test_what_makes_no_rows(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        XarraySource.open(make(), **options)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ("wieght", SchemaError, "no variable 'wieght'; did you mean 'weight'"),
        (lambda ds: area(ds).isel(lat=slice(1, None)), SchemaError, "length 4 along lat.*has 5"),
        (
            lambda ds: area(ds).assign_coords(lat=ds.lat + np.array([0, 0, 1, 0, 0])),
            SchemaError,
            "other labels along lat: 1.0 and .*0.0 at position 2",
        ),
        (lambda ds: area(ds).expand_dims(member=2), SchemaError, "member are no sample dim"),
        (lambda ds: -area(ds), DataError, "negative"),
        (lambda ds: area(ds) * np.nan, DataError, "not finite|NaN|finite"),
        (lambda ds: area(ds) * 0, DataError, "zero|positive"),
        (lambda ds: ds.time, SchemaError, "the weights has dtype|the weights"),
        (np.ones(7), (SchemaError, DataError), "7"),
    ],
)
def test_weights_that_do_not_fit(weights: Any, error: Any, message: str) -> None:
    ds = dataset()
    with pytest.raises(error, match=message):
        XarraySource.open(ds, **FEATURES, weights=weights(ds) if callable(weights) else weights)


def test_schema() -> None:
    schema = XarraySource.open(dataset(), **FEATURES).schema
    assert schema.feature_names == ("t", "s[lev=10]", "s[lev=500]")
    assert schema.feature_units == ("K", None, None)
    assert schema.sample_dims == GRID
    assert schema.sample_shape == (12, 5, 4)


@pytest.mark.parametrize(
    ("array", "names"),
    [
        (xr.DataArray(CUBE), None),
        (xr.DataArray(CUBE, name="x"), ("x[0]", "x[1]", "x[2]")),
        (xr.DataArray(CUBE, {"dim_3": list("abc")}), ("a", "b", "c")),
        (xr.DataArray(CUBE, {"dim_3": [1.0, 2.5, 9.0]}), ("dim_3=1", "dim_3=2.5", "dim_3=9")),
    ],
    ids=["bare", "named", "text", "levels"],
)
def test_names_of_an_array(array: xr.DataArray, names: Any) -> None:
    assert XarraySource.open(array).schema.feature_names == names


def test_registry_opens_xarray() -> None:
    assert not in_memory(dataset())
    assert isinstance(open_source(dataset(), features="t"), XarraySource)
    with pytest.raises(SchemaError, match="storage_options="):
        open_source(dataset(), storage_options={"anon": True})


def test_only_memory_is_local(tmp_path: Path) -> None:
    made = [dataset(), dataset().chunk(time=5), lazily(tmp_path), chunked(tmp_path)]
    assert [XarraySource.open(ds, **FEATURES).local for ds in made] == [True, False, False, False]


@pytest.mark.parametrize("opened", [lazily, chunked], ids=["lazy", "chunked"])
def test_a_store_is_read_as_the_zarr_source_reads_it(opened: Any, tmp_path: Path) -> None:
    source = XarraySource.open(opened(tmp_path), **FEATURES)
    bare = ZarrSource.open(stored(tmp_path), **FEATURES)
    assert isinstance(view(source), StoredView)
    mine, theirs = source.schema, bare.schema
    assert mine.sample_chunks == theirs.sample_chunks
    assert mine.stored_bytes == theirs.stored_bytes
    assert (mine.chunk_bytes, mine.decoding_bytes) == (theirs.chunk_bytes, theirs.decoding_bytes)
    assert str(tmp_path / "data.zarr") in mine.describe


@given(
    st.sampled_from(["i2", "u1", "i4", "f4", "f8"]),
    st.sampled_from([None, 0.5, 1e-3, np.float32(0.1)]),
    st.sampled_from([None, 10.0, np.float32(2)]),
    st.sampled_from([None, 3, 5]),
)
def test_packed_numbers_are_decoded_as_xarray_does(
    dtype: str, scale: Any, offset: Any, fill: Any
) -> None:
    store = zarr.storage.MemoryStore()
    given = {"scale_factor": scale, "add_offset": offset, "_FillValue": fill}
    numbers = np.arange(24, dtype=dtype).reshape(6, 4)
    attributes = {key: value for key, value in given.items() if value is not None}
    xr.Dataset({"x": (("n", "d"), numbers, attributes)}).pipe(
        lambda ds: ds.to_zarr(store, mode="w", consolidated=False)
    )
    ds = xr.open_zarr(store, chunks=None, consolidated=False)
    source = XarraySource.open(ds, sample_dims=["n"])
    expected = ds.x.values.astype(source.schema.dtype)
    found = rows_of(source)
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()


def test_the_zarr_array_beneath_is_found_where_it_is_packed_plainly(tmp_path: Path) -> None:
    ds = lazily(tmp_path, encoding=PACKED)
    assert isinstance(view_of(ds.t.variable, "t"), StoredView)
    assert isinstance(view_of(ds.t.isel(time=slice(2, 9)).variable, "t"), StoredView)
    # what is more than a box goes through xarray
    assert isinstance(view_of(ds.t.isel(time=slice(None, None, 2)).variable, "t"), Lazy)
    assert isinstance(view_of(ds.t.isel(time=0).variable, "t"), Lazy)
    assert isinstance(view_of(ds.t.transpose("lon", ...).variable, "t"), Lazy)
    assert isinstance(view_of(ds.t.load().variable, "t"), Resident)


def test_a_box_of_what_dask_reads_is_read_beneath_dask(tmp_path: Path) -> None:
    box = {"time": slice(3, 11), "lon": slice(1, 4)}
    source = XarraySource.open(chunked(tmp_path).isel(box), **FEATURES)
    lazy = XarraySource.open(lazily(tmp_path).isel(box), **FEATURES)
    assert isinstance(view(source), StoredView)
    assert view(source).box == view(lazy).box == (slice(3, 11), slice(0, 5), slice(1, 4))
    assert rows_of(source).tobytes() == rows_of(lazy).tobytes()


def test_a_box_that_begins_inside_a_chunk_costs_memory_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask_em.sources.tiling.TARGET_BYTES", 1)  # no chunks are joined
    ds = lazily(tmp_path)
    # chunks of t are (4, 5, 2)
    whole = XarraySource.open(ds.isel(time=slice(4, None)), features=["t"], sample_dims=GRID)
    with pytest.warns(UserWarning, match=r"begins inside chunks of \(4, 5, 2\) .* 2 times a pass"):
        cut = XarraySource.open(ds.isel(time=slice(3, None)), features=["t"], sample_dims=GRID)
    assert whole.schema.decoding_bytes == 0
    assert cut.schema.decoding_bytes == 4 * 5 * 2 * 8


def test_reading_leaves_nothing_in_the_dataset(tmp_path: Path) -> None:
    ds = netcdf(tmp_path)
    rows_of(XarraySource.open(ds, **FEATURES))
    assert not ds.t.variable._in_memory


def test_a_partition_takes_only_its_rows_along() -> None:
    tall = xr.Dataset({"x": (("n", "d"), np.zeros((100_000, 4)))}).chunk(n=1000)
    source = XarraySource.open(tall, sample_dims=["n"], weights=np.ones(100_000))
    sent = cloudpickle.dumps(source.partition(range(3, 5)))
    assert len(sent) < 2 * 1000 * (4 + 1) * 8 + 10_000
    lazy = XarraySource.open((tall + 1), sample_dims=["n"])
    assert len(cloudpickle.dumps(lazy.partition(range(3, 5)))) < 2 * 1000 * 4 * 8 + 20_000
    assert pickle.loads(sent).open()(4).block.values.shape == (1000, 4)


def test_shared_work_is_told() -> None:
    ds = dataset().drop_vars("label").chunk(time=4)
    with pytest.warns(UserWarning, match="share upstream tasks.*persist"):
        assert XarraySource.open(ds - ds.mean("time"), **FEATURES).shares_work
    assert not XarraySource.open(ds * 2, **FEATURES).shares_work


@pytest.mark.parametrize("opened", [lazily, chunked], ids=["lazy", "chunked"])
def test_a_chunk_that_cannot_be_decoded_is_named_and_can_be_left_out(
    opened: Any, tmp_path: Path
) -> None:
    ds = opened(tmp_path)
    source = XarraySource.open(ds, **FEATURES)
    (tmp_path / "data.zarr" / "t" / "c" / "1" / "0" / "1").write_bytes(b"nonsense")
    partition = source.partition(range(source.schema.n_chunks))
    read = partition.open()
    with pytest.raises(ChunkError, match=r"chunk t/c/1/0/1 cannot be decoded.*data\.zarr"):
        list(map(read, partition.chunks))


def test_what_cannot_be_read_through_xarray_is_named(tmp_path: Path) -> None:
    ds = lazily(tmp_path).isel(time=slice(None, None, 2))
    source = XarraySource.open(ds, **FEATURES)
    (tmp_path / "data.zarr" / "t" / "c" / "1" / "0" / "1").write_bytes(b"nonsense")
    with pytest.raises(ChunkError, match=r"region \[.*\] of t cannot be decoded"):
        rows_of(source)


def test_a_computation_that_fails_is_named() -> None:
    def fails(block: np.ndarray) -> np.ndarray:
        if block.size:
            raise ZeroDivisionError("no luck")
        return block

    ds = dataset().chunk(time=4)
    ds["t"] = ds.t.copy(data=ds.t.data.map_blocks(fails, dtype=float))
    source = XarraySource.open(ds, **FEATURES)
    with pytest.raises(ChunkError, match=r"region \[0:4, .* of t, s .* cannot be computed.*luck"):
        rows_of(source)
    assert source.partition(range(3)).salvage(0) == ([], 1)


def test_a_broken_promise_is_told() -> None:
    ds = dataset().chunk(time=4)
    lies = ds.t.data.map_blocks(lambda block: block[:1], dtype=float)
    ds["t"] = ds.t.copy(data=lies)
    with pytest.raises(ChunkError, match="has shape .* where the array promises"):
        rows_of(XarraySource.open(ds, features=["t"]))


def test_fingerprints_tell_data_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    mine = XarraySource.open(lazily(tmp_path / "a"), **FEATURES).fingerprint()
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    copy = xr.open_zarr(tmp_path / "c" / "data.zarr", chunks=None, consolidated=False)
    other = XarraySource.open(lazily(tmp_path / "b", values=CUBE + 1), **FEATURES).fingerprint()
    assert XarraySource.open(copy, **FEATURES).fingerprint().facts == mine.facts
    assert other.facts != mine.facts
    files = XarraySource.open(netcdf(tmp_path), **FEATURES)
    assert files.fingerprint() == files.fingerprint() != mine


def test_files(tmp_path: Path) -> None:
    netcdf(tmp_path).close()
    source = XarraySource.open_file(tmp_path / "data.nc", **FEATURES, weights="weight")
    assert "data.nc" in source.schema.describe
    assert source.schema.n_rows == 240
    with pytest.raises(SourceError, match="there is no file .*none.nc"):
        XarraySource.open_file(tmp_path / "none.nc")
    (tmp_path / "bad.nc").write_bytes(b"CDF nonsense")
    with pytest.raises(SourceError, match="bad.nc cannot be opened by xarray"):
        XarraySource.open_file(tmp_path / "bad.nc")


def test_answers_look_like_the_input() -> None:
    ds = dataset()
    source = XarraySource.open(ds, **FEATURES)
    labels = source.labelled(np.zeros((12, 5, 4), int), Label(2, np.dtype(float)))
    assert labels.name == "class"
    assert labels.dims == GRID
    assert set(labels.coords) == {"time", "lat", "lon", "station", "region", "run"}
    for name, coordinate in labels.coords.items():
        assert coordinate.identical(ds[name].drop_vars("nothing", errors="ignore"))
    shares = source.labelled(np.zeros((12, 5, 4, 2)), Probability(2, np.dtype(float)))
    assert shares.component.values.tolist() == [0, 1]
    assert shares.attrs["units"] == "1"


def test_rows_come_back_as_their_variables() -> None:
    ds = dataset()
    source = XarraySource.open(ds, **FEATURES)
    found = source.labelled(CUBE, Filled(3, np.dtype(float)))
    assert found.identical(ds[["t", "s"]])
    one = XarraySource.open(ds.s, sample_dims=GRID)
    assert one.labelled(CUBE[..., 1:], Filled(2, np.dtype(float))).identical(ds.s)
    bare = ds.s.rename(None)
    again = XarraySource.open(bare, sample_dims=GRID)
    assert again.labelled(CUBE[..., 1:], Filled(2, np.dtype(float))).identical(bare)


def test_an_index_of_several_levels_stays() -> None:
    flat = dataset()[["t"]].stack(sample=GRID)
    source = XarraySource.open(flat)
    labels = source.labelled(np.zeros(240, int), Label(2, np.dtype(float)))
    assert labels.unstack("sample").sizes == {"time": 12, "lat": 5, "lon": 4}
    with pytest.warns(UserWarning, match=r"of the levels time, lat, lon, .*set_index\(sample="):
        assert set(source.coordinates()) >= {"time", "lat", "lon"}


def test_long_coordinates_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_em.sources.xarray.labelled.LARGEST_BYTES", 159)  # station takes 160
    source = XarraySource.open(dataset().drop_vars("region"), **FEATURES)
    with pytest.warns(UserWarning, match="station .*limit is"):
        found = source.coordinates()
    assert "station" not in found
    assert "lat" in found


def test_times_keep_their_units() -> None:
    ds = dataset()
    ds.time.encoding.update(units="minutes since 1900-01-01", calendar="standard")
    found = XarraySource.open(ds, **FEATURES).coordinates()["time"]
    assert found.attributes["units"] == "minutes since 1900-01-01"
    assert np.diff(found.values).tolist() == [360] * 11


def test_weights_in_memory_are_not_spread_out() -> None:
    source = XarraySource.open(dataset().chunk(time=3), **FEATURES, weights=area(dataset()))
    assert source._weights is not None
    assert source._weights.array.view.values.shape == AREA.shape


def test_reading_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows_of(XarraySource.open(chunked(tmp_path), **FEATURES))


def test_a_file_behind_a_url(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    made = xr.Dataset({"u": (("time", "lat"), np.arange(20.0).reshape(4, 5))})
    made.to_netcdf(tmp_path / "u.nc", engine="scipy")
    with fsspec.open("memory://files/u.nc", "wb") as file:
        file.write((tmp_path / "u.nc").read_bytes())
    source = open_source("memory://files/u.nc", features=["u"])
    rows = source.partition(range(1)).open()(0).block.values
    np.testing.assert_array_equal(rows[:, 0], np.arange(20.0))
    with pytest.raises(SourceError, match="there is no file memory://files/v.nc"):
        open_source("memory://files/v.nc", features=["u"])


@pytest.mark.parametrize("chunks", [None, {}], ids=["lazy", "chunked"])
def test_what_lies_in_the_memory_of_this_process_is_read_in_it(chunks: Any, client: Client) -> None:
    pytest.importorskip("fsspec")
    made = dataset()[["t"]].drop_vars("region")
    made.to_zarr("memory://em-here.zarr", mode="w", consolidated=False)
    # a worker would find nothing there, and read fill values
    ds = xr.open_zarr("memory://em-here.zarr", chunks=chunks, consolidated=False)
    source = XarraySource.open(ds)
    assert source.local
    assert not source.partition(range(1)).resident
    with pytest.raises(InputError, match="in this process's memory"):
        GaussianMixture(2, random_state=0).fit(ds, client=client)
    found = GaussianMixture(2, random_state=0).fit(ds)
    assert_allclose(found.means_, GaussianMixture(2, random_state=0).fit(made).means_)


def test_no_secret_is_told_of_a_file_that_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise ValueError("denied to key hush-hush-hush")

    monkeypatch.setattr(xr, "open_dataset", fails)
    (tmp_path / "x.nc").touch()
    with pytest.raises(SourceError, match="x.nc cannot be opened by xarray") as caught:
        XarraySource.open_file(tmp_path / "x.nc", storage_options={"secret": "hush-hush-hush"})
    assert "hush" not in str(caught.value)
