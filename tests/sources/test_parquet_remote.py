"""Parquet on a real S3 server: few requests, tries, and errors that say what to do."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_em import open_source
from dask_em.engine.stream import Reading, stream
from dask_em.errors import ChunkError, SchemaError, SourceError
from dask_em.remote import patience
from dask_em.sources.parquet.source import ParquetSource
from tests.s3 import Bucket
from tests.sources.table_cases import table, write

ROWS = np.random.default_rng(3).normal(size=(1200, 3))
N_FILES = 3


@pytest.fixture
def url(bucket: Bucket, tmp_path: Path) -> str:
    """Three files of four row groups, in partitions."""
    for number in range(N_FILES):
        path = write(tmp_path / f"{number}.parquet", table(ROWS[number * 400 :][:400]), 100)
        put(bucket, f"x/year={2000 + number}/part.parquet", path.read_bytes())
    return bucket.url("x")


def put(bucket: Bucket, key: str, content: bytes) -> str:
    import fsspec

    fsspec.filesystem("s3", **bucket.options).pipe_file(f"{bucket.name}/{key}", content)
    bucket.proxy.count()
    return bucket.url(key)


def opened(bucket: Bucket, url: str, **given: Any) -> Any:
    given = {"features": list("abc")} | given
    return open_source(url, storage_options=bucket.options | given.pop("options", {}), **given)


def rows_of(source: Any, **reading: Any) -> np.ndarray:
    leaf = source.partition(range(source.schema.n_chunks))
    pieces = stream([leaf], Reading(source.schema, **reading))
    return np.concatenate([piece.block.values for _, piece in pieces])


def test_it_is_read_in_few_requests(bucket: Bucket, url: str) -> None:
    source = opened(bucket, url)
    # what it is, what files there are, and their footers
    assert len(bucket.proxy.requests) <= 4 + N_FILES
    bucket.proxy.count()
    np.testing.assert_array_equal(rows_of(source), ROWS)
    # of each file the footer, and all wanted columns of all row groups
    assert len(bucket.proxy.requests) == 2 * N_FILES
    assert not any(line.startswith("HEAD") for line in bucket.proxy.requests)


def test_conditions_spare_files_and_columns_their_bytes(bucket: Bucket, url: str) -> None:
    source = opened(bucket, url, features=["a", "year"], where="year == 2001 and b > 0")
    bucket.proxy.count()
    some = ROWS[400:800][ROWS[400:800, 1] > 0]
    np.testing.assert_array_equal(rows_of(source)[:, 0], some[:, 0])
    assert {line.partition("/part")[0][-4:] for line in bucket.proxy.requests} == {"2001"}


@pytest.mark.parametrize("pattern", ["x/*/part.parquet", "x/year=2001/part.parquet"])
def test_globs_and_files(bucket: Bucket, url: str, pattern: str) -> None:
    expected = ROWS if "*" in pattern else ROWS[400:800]
    np.testing.assert_array_equal(rows_of(opened(bucket, bucket.url(pattern))), expected)


def test_many_requests_are_in_flight_and_rows_come_in_order(bucket: Bucket, tmp_path: Path) -> None:
    content = write(tmp_path / "x.parquet", table(ROWS)).read_bytes()
    for number in range(8):
        put(bucket, f"many/{number}.parquet", content)
    source = opened(bucket, bucket.url("many"))
    assert source.reads_at_once == 8
    bucket.proxy.latency = 0.2
    np.testing.assert_array_equal(rows_of(source), np.tile(ROWS, (8, 1)))
    assert bucket.proxy.most_in_flight >= 4


def test_parts_of_a_row_group_are_fetched_once(bucket: Bucket, tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", table(ROWS), 1200)
    url = put(bucket, "x.parquet", path.read_bytes())
    source = ParquetSource.open(url, storage_options=bucket.options, limit_bytes=24 * 200)
    assert source.schema.n_chunks == 6
    bucket.proxy.count()
    np.testing.assert_array_equal(rows_of(source), ROWS)
    assert len(bucket.proxy.requests) == 2


@pytest.mark.parametrize(
    "kind", ["slow down", "too many", "internal", "drop", "truncate", "silent"]
)
def test_what_passes_is_tried_again(bucket: Bucket, url: str, kind: str) -> None:
    # of listing, of reading a footer, and of reading columns
    faults = [bucket.proxy.fault(kind, r"GET .*list-type", times=1)]
    faults += [bucket.proxy.fault(kind, "GET .*2001/part", times=2)]
    source = opened(bucket, url)
    faults += [bucket.proxy.fault(kind, "GET .*2002/part", times=2)]
    np.testing.assert_array_equal(rows_of(source), ROWS)
    assert [fault.met for fault in faults] == [1, 2, 2]


@pytest.mark.parametrize("on_bad_chunk", ["raise", "skip"])
@pytest.mark.parametrize(
    ("kind", "told", "tries"),
    [
        ("slow down", "did not answer in 5 tries.*later", patience.TRIES),
        ("denied", "access to s3://.* is denied.*AWS_PROFILE", 1),
        ("no bucket", "bucket of s3://.* does not exist", 1),
    ],
)
@pytest.mark.parametrize("when", ["footer", "columns"])
def test_a_store_that_does_not_answer_has_no_bad_chunk(
    bucket: Bucket, url: str, on_bad_chunk: str, kind: str, told: str, tries: int, when: str
) -> None:
    source = None if when == "footer" else opened(bucket, url)
    fault = bucket.proxy.fault(kind, "GET .*2001/part", after=when == "columns")
    with pytest.raises(SourceError, match=told) as no:
        rows_of(source or opened(bucket, url), on_bad_chunk=on_bad_chunk)
    assert not isinstance(no.value, ChunkError)
    assert f"s3://{bucket.name}/x/year=2001/part.parquet" in str(no.value)
    assert fault.met == tries


def test_what_is_broken_is_a_bad_chunk(bucket: Bucket, url: str, tmp_path: Path) -> None:
    source = opened(bucket, url)
    content = (tmp_path / "1.parquet").read_bytes()
    put(bucket, "x/year=2001/part.parquet", content[: len(content) // 2])
    name = f"s3://{bucket.name}/x/year=2001/part.parquet"
    with pytest.raises(ChunkError, match=f"{name} cannot be read.*on_bad_chunk"):
        rows_of(source)
    expected = np.delete(ROWS, slice(400, 800), axis=0)
    np.testing.assert_array_equal(rows_of(source, on_bad_chunk="skip"), expected)
    source = opened(bucket, url)  # now its footer is not there either
    np.testing.assert_array_equal(rows_of(source, on_bad_chunk="skip"), expected)


def test_a_file_that_vanished_is_a_bad_chunk(bucket: Bucket, url: str) -> None:
    import fsspec

    source = opened(bucket, url)
    fsspec.filesystem("s3", **bucket.options).rm(f"{bucket.name}/x/year=2001/part.parquet")
    with pytest.raises(ChunkError, match="year=2001/part.parquet cannot be read"):
        rows_of(source)


def test_what_differs_is_named_by_its_url(bucket: Bucket, url: str, tmp_path: Path) -> None:
    path = write(tmp_path / "z.parquet", table(ROWS[:, :2], "ab"))
    put(bucket, "x/year=2009/part.parquet", path.read_bytes())
    name = f"s3://{bucket.name}/x"
    with pytest.raises(
        SchemaError, match=f"{name}/year=2009.* has no column 'c'.*{name}/year=2000"
    ):
        opened(bucket, url)


def test_nothing_is_there(bucket: Bucket) -> None:
    with pytest.raises(SourceError, match="no Parquet file at s3://.*/nothing.parquet"):
        opened(bucket, bucket.url("nothing.parquet"))
    with pytest.raises(SourceError, match="bucket of s3://nobody-has-it.* does not exist"):
        opened(bucket, "s3://nobody-has-it/x.parquet")


def test_one_dataset_lies_in_one_store(bucket: Bucket, url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"0.parquet and s3://.* lie in different stores"):
        open_source([tmp_path / "0.parquet", url], storage_options=bucket.options)


def test_a_partition_travels_without_its_file_system(bucket: Bucket, url: str) -> None:
    source = opened(bucket, url)
    partition = source.partition(range(source.schema.n_chunks))
    content = pickle.dumps(partition)
    assert b"s3fs" not in content
    leaf = pickle.loads(content)
    bucket.proxy.fault("slow down", "GET .*2001/part", times=2)
    found = [piece.block.values for _, piece in stream([leaf], Reading(source.schema))]
    np.testing.assert_array_equal(np.concatenate(found), ROWS)


def test_no_secret_is_shown(bucket: Bucket, url: str) -> None:
    secrets = {"key": "AKIAVERYSECRET", "secret": "verysecretindeed", "token": "tokenofmine"}
    source = opened(bucket, url, options=secrets)
    bucket.proxy.fault("denied")
    with pytest.raises(SourceError) as denied:
        rows_of(source)
    with pytest.raises(SourceError) as nonsense:
        opened(bucket, f"{url}/x.parquet", options=secrets | {"nonsense": "verysecretindeed"})
    partition = source.partition(range(1))
    shown = f"{denied.value} {nonsense.value} {partition!r} {source.dataset!r}"
    assert "denied" in shown
    for secret in secrets.values():
        assert secret not in shown


def test_the_fingerprint_sees_what_is_written(bucket: Bucket, url: str, tmp_path: Path) -> None:
    source = opened(bucket, url)
    before = source.fingerprint()
    bucket.proxy.fault("slow down", "GET .*list-type", times=2)
    assert source.fingerprint() == before
    put(bucket, "x/year=2001/part.parquet", (tmp_path / "0.parquet").read_bytes())
    assert source.fingerprint() != before


def test_pyarrow_reads_it_too(bucket: Bucket, url: str) -> None:
    """The fixture is what it is taken for."""
    import fsspec

    found = pq.read_table(f"{bucket.name}/x", filesystem=fsspec.filesystem("s3", **bucket.options))
    assert isinstance(found, pa.Table)
    assert len(found) == len(ROWS)
