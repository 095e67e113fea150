"""Zarr stores on a real S3 server: requests, tries, and errors that say what to do."""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from zarr.core.sync import sync

from dask_em import open_source
from dask_em.engine.stream import Reading, stream
from dask_em.errors import ChunkError, SourceError
from dask_em.remote import patience
from dask_em.remote.store import open_store
from dask_em.sources.xarray.lazy import view_of
from tests.s3 import Bucket

ROWS = np.random.default_rng(3).normal(size=(1000, 4))


def opened(bucket: Bucket, url: str, **given: Any) -> Any:
    return open_source(url, storage_options=bucket.options | given.pop("options", {}), **given)


def rows_of(source: Any) -> np.ndarray:
    leaf = source.partition(range(source.schema.n_chunks))
    return np.concatenate(
        [piece.block.values for _, piece in stream([leaf], Reading(source.schema))]
    )


def group(bucket: Bucket, key: str, zarr_format: Any, consolidated: bool) -> str:
    made = zarr.create_group(bucket.store(key), zarr_format=zarr_format)
    for number, name in enumerate("uvw"):
        named = {"dimension_names": ["a"]} if zarr_format == 3 else {}
        array = made.create_array(name, data=ROWS[:, number], chunks=(200,), **named)
        if zarr_format == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = ["a"]
    if consolidated:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(made.store)
    bucket.proxy.count()
    return bucket.url(key)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_is_opened_in_few_requests(bucket: Bucket, zarr_format: Any) -> None:
    url = bucket.array("x.zarr", ROWS, chunks=(200, 4), zarr_format=zarr_format)
    source = opened(bucket, url)
    assert len(bucket.proxy.requests) <= (1 if zarr_format == 3 else 4)
    bucket.proxy.count()
    np.testing.assert_array_equal(rows_of(source), ROWS)
    assert len(bucket.proxy.requests) == 5  # each chunk once, and nothing asked before


@pytest.mark.parametrize(
    ("zarr_format", "consolidated", "most"), [(3, True, 2), (3, False, 6), (2, True, 7)]
)
def test_a_group_is_opened_in_few_requests(
    bucket: Bucket, zarr_format: Any, consolidated: bool, most: int
) -> None:
    url = group(bucket, "g.zarr", zarr_format, consolidated)
    source = opened(bucket, url, features=["u", "w"])
    assert len(bucket.proxy.requests) <= most
    np.testing.assert_array_equal(rows_of(source), ROWS[:, [0, 2]])


def as_dataset(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What xarray opens behind a URL, by a client that makes one try of each request."""
    xarray = pytest.importorskip("xarray")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    once = {"retries": {"total_max_attempts": 1}, **bucket.options["config_kwargs"]}
    options = {**bucket.options, "config_kwargs": once}
    url = group(bucket, "d.zarr", 3, consolidated=True)
    ds = xarray.open_zarr(url, storage_options=options, chunks=None)
    bucket.proxy.count()
    return ds[["u", "w"]]


FOUND = {
    "box": lambda ds: (ds, ROWS[:, [0, 2]]),
    "chunks": lambda ds: (ds.chunk(a=200), ROWS[:, [0, 2]]),
    "through xarray": lambda ds: (ds.isel(a=slice(None, None, -1)), ROWS[::-1, [0, 2]]),
    "group": lambda ds: (_group_beneath(ds), ROWS[:, [0, 2]]),
}


def _group_beneath(ds: Any) -> Any:
    store = view_of(ds.u.variable, "u").array.store._store
    return zarr.open_group(zarr.storage.FsspecStore(store.fs, path=store.path), mode="r")


@pytest.mark.parametrize("kind", FOUND)
def test_what_was_opened_behind_a_url_is_read_patiently(
    bucket: Bucket, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, rows = FOUND[kind](as_dataset(bucket, monkeypatch))
    source = open_source(data, features=["u", "w"])
    assert source.reads_at_once > 1
    bucket.proxy.fault("slow down", "GET .*/c/", times=2)
    bucket.proxy.latency = 0.05
    found = pickle.loads(pickle.dumps(source.partition(range(source.schema.n_chunks))))
    read = [found.open()(index).block.values for index in found.chunks]
    np.testing.assert_array_equal(np.concatenate(read), rows)
    assert bucket.proxy.most_in_flight > 1


@pytest.mark.parametrize("kind", FOUND)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("slow down", "did not answer in 5 tries"),
        ("denied", "access to s3://.* is denied"),
        ("no bucket", "the bucket of s3://.* does not exist"),
    ],
)
def test_a_store_that_gives_no_answer_holds_no_bad_chunk(
    bucket: Bucket, kind: str, fault: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = FOUND[kind](as_dataset(bucket, monkeypatch))
    source = open_source(data, features=["u", "w"])
    bucket.proxy.fault(fault, "GET .*/c/")
    partition = source.partition(range(source.schema.n_chunks))
    with pytest.raises(SourceError, match=message) as caught:
        partition.open()(0)
    assert not isinstance(caught.value, ChunkError)


def test_many_requests_are_in_flight_and_rows_come_in_order(bucket: Bucket) -> None:
    # cells of 17 MB: each is read alone
    rows = np.arange(8 << 18, dtype=float).reshape(-1, 1) % 997
    url = bucket.array("x.zarr", rows, chunks=(1 << 18, 1), compressors=None)
    source = opened(bucket, url)
    assert source.reads_at_once > 1
    bucket.proxy.latency = 0.2
    np.testing.assert_array_equal(rows_of(source), rows)
    assert bucket.proxy.most_in_flight >= 4


@pytest.mark.parametrize(
    "kind", ["slow down", "too many", "internal", "drop", "truncate", "silent"]
)
def test_what_passes_is_tried_again(bucket: Bucket, kind: str) -> None:
    source = opened(bucket, bucket.array("x.zarr", ROWS, chunks=(200, 4)))
    times = 1 if kind == "silent" else 2
    fault = bucket.proxy.fault(kind, r"GET .*/c/3/0", times=times)
    np.testing.assert_array_equal(rows_of(source), ROWS)
    assert fault.met == times


@pytest.mark.parametrize(("kind", "on_bad_chunk"), [("slow down", "raise"), ("truncate", "skip")])
def test_an_outage_is_an_error_that_names_the_object_and_no_bad_chunk(
    bucket: Bucket, kind: str, on_bad_chunk: str
) -> None:
    source = opened(bucket, bucket.array("x.zarr", ROWS, chunks=(200, 4)))
    fault = bucket.proxy.fault(kind, r"GET .*/c/3/0")
    leaf = source.partition(range(source.schema.n_chunks))
    with pytest.raises(SourceError, match=r"x.zarr/c/3/0 did not answer in 5 tries.*later") as no:
        list(stream([leaf], Reading(source.schema, on_bad_chunk=on_bad_chunk)))
    assert not isinstance(no.value, ChunkError)
    assert fault.met == patience.TRIES


def test_what_passes_is_tried_again_for_netcdf(bucket: Bucket, tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    pytest.importorskip("scipy.io")
    xr.Dataset({"u": (("t", "x"), ROWS)}).to_netcdf(tmp_path / "x.nc", engine="scipy")
    url, files = bucket.url("x.nc"), fsspec.filesystem("s3", **bucket.options)
    files.put(str(tmp_path / "x.nc"), url)
    fault = bucket.proxy.fault("drop", "(HEAD|GET) .*/x.nc", times=2)
    source = opened(bucket, url, features=["u"], sample_dims=["t"])
    np.testing.assert_array_equal(rows_of(source), ROWS)
    assert fault.met == 2


def test_tries_end_with_the_time(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(bucket, bucket.array("x.zarr", ROWS, chunks=(200, 4)))
    monkeypatch.setattr(patience, "SECONDS", 0.4)
    bucket.proxy.fault("silent", r"GET .*/c/3/0")
    with pytest.raises(SourceError, match="did not answer in 1 try of"):
        rows_of(source)


def test_a_chunk_that_is_not_there_is_fill_values(bucket: Bucket) -> None:
    array = zarr.create_array(
        bucket.store("x.zarr"), shape=(1000, 4), chunks=(200, 4), dtype=float, fill_value=7.0
    )
    array[:200] = ROWS[:200]
    found = rows_of(opened(bucket, bucket.url("x.zarr")))
    np.testing.assert_array_equal(found[:200], ROWS[:200])
    assert (found[200:] == 7).all()


@pytest.mark.parametrize(
    ("kind", "on_bad_chunk"),
    [("denied", "skip"), ("expired", "raise"), ("unknown key", "raise"), ("signature", "raise")],
)
def test_what_is_denied_is_no_missing_chunk(bucket: Bucket, kind: str, on_bad_chunk: str) -> None:
    source = opened(bucket, bucket.array("x.zarr", ROWS, chunks=(200, 4)))
    fault = bucket.proxy.fault(kind, r"GET .*/c/3/0")
    leaf = source.partition(range(source.schema.n_chunks))
    with pytest.raises(SourceError, match=r"access to s3://.*/c/3/0 is denied.*AWS_PROFILE.*anon"):
        list(stream([leaf], Reading(source.schema, on_bad_chunk=on_bad_chunk)))
    assert fault.met == 1  # no use in trying again


@pytest.mark.parametrize(("kind", "told"), [("denied", True), ("unknown key", False)])
def test_what_is_denied_may_be_absent_where_a_bucket_may_not_be_listed(
    bucket: Bucket, kind: str, told: bool
) -> None:
    source = opened(bucket, bucket.array("x.zarr", ROWS, chunks=(200, 4)))
    bucket.proxy.fault(kind, r"GET .*/c/3/0")
    with pytest.raises(SourceError, match="denied") as no:
        rows_of(source)
    assert ("s3:ListBucket" in str(no.value)) == told


def test_a_bucket_that_vanished_is_no_missing_chunk(bucket: Bucket) -> None:
    source = opened(bucket, bucket.array("x.zarr", ROWS, chunks=(200, 4)))
    bucket.proxy.fault("no bucket", r"GET .*/c/3/0")
    with pytest.raises(SourceError, match="bucket of s3://.* does not exist.*check its name"):
        rows_of(source)


def test_no_such_bucket_or_store(bucket: Bucket) -> None:
    with pytest.raises(SourceError, match="bucket of s3://nobody-has-it/x.zarr.* does not exist"):
        opened(bucket, "s3://nobody-has-it/x.zarr")
    with pytest.raises(SourceError, match="nothing.zarr holds no Zarr array or group"):
        opened(bucket, bucket.url("nothing.zarr"))


def test_credentials_that_are_missing(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    url = bucket.array("x.zarr", ROWS, chunks=(200, 4))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    # other options than elsewhere: fsspec keeps a file system, and its credentials with it
    other = {"default_block_size": 1 << 20, "key": None, "secret": None}
    with pytest.raises(SourceError, match=rf"access to {url}.*denied.*credentials.*AWS_PROFILE"):
        opened(bucket, url, options=other)
    with pytest.raises(SourceError, match="nobody.*could not be found.*AWS_PROFILE"):
        opened(bucket, url, options={"profile": "nobody", "key": None, "secret": None})


def test_no_secret_is_shown(bucket: Bucket) -> None:
    url = bucket.array("x.zarr", ROWS, chunks=(200, 4))
    secrets = {"key": "AKIAVERYSECRET", "secret": "verysecretindeed", "token": "tokenofmine"}
    bucket.proxy.fault("denied")
    with pytest.raises(SourceError) as no:
        opened(bucket, url, options=secrets | {"nonsense": "verysecretindeed"})
    with pytest.raises(SourceError) as denied:
        opened(bucket, url, options=secrets)
    store = open_store(url, bucket.options | secrets)
    shown = f"{no.value} {denied.value} {store} {store!r}"
    assert "denied" in shown
    for secret in secrets.values():
        assert secret not in shown


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("abfs://bucket/x.zarr", r"pip install 'dask_em\[remote\]'"),
        ("nowhere://bucket/x.zarr", "check its protocol"),
    ],
)
def test_no_client(url: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(SourceError, match=text):
        open_source(url)


def test_a_store_travels_and_is_the_same_there(bucket: Bucket) -> None:
    url = bucket.array("x.zarr", ROWS, chunks=(200, 4))
    source = opened(bucket, url)
    leaf = pickle.loads(pickle.dumps(source.partition(range(source.schema.n_chunks))))
    bucket.proxy.fault("slow down", r"GET .*/c/3/0", times=2)
    found = [piece.block.values for _, piece in stream([leaf], Reading(source.schema))]
    np.testing.assert_array_equal(np.concatenate(found), ROWS)
    assert leaf.columns[0].array.store == source._columns[0].array.store


def test_a_list_sees_what_others_wrote(bucket: Bucket) -> None:
    store = open_store(bucket.url("g.zarr"), bucket.options)

    async def names() -> list[str]:
        return sorted([name async for name in store.list_dir("")])

    assert sync(names()) == []
    zarr.create_group(bucket.store("g.zarr"))
    assert sync(names()) == ["zarr.json"]
