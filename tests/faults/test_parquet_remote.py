"""Answers as Parquet on a real S3 server that is slow, refuses and breaks."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_em import GaussianMixture, SourceError
from dask_em.remote.files import open_files
from tests.faults.test_object_store import bits, storm
from tests.s3 import Bucket
from tests.sources.table_cases import write

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization")

N = 2000
RNG = np.random.default_rng(8)
ROWS = RNG.normal(size=(N, 3)) + 5 * RNG.integers(3, size=(N, 1))
TABLE = pa.table({"id": np.arange(N), **{name: ROWS[:, j] for j, name in enumerate("abc")}})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Four files in two partitions."""
    for number in range(4):
        name = f"year={2009 + number // 2}/part-{number}.parquet"
        write(tmp_path / "in" / name, TABLE.slice(number * 500, 500), 200)
    return tmp_path / "in"


@pytest.fixture
def rows(bucket: Bucket, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same in a bucket, each row group a chunk."""
    monkeypatch.setattr("dask_em.sources.parquet.layout.JOINED_BYTES", 1000)
    for path in home.rglob("*.parquet"):
        put(bucket, f"in/{path.relative_to(home)}", path.read_bytes())
    return bucket.url("in")


@pytest.fixture
def model() -> GaussianMixture:
    return mixture().fit(pd.DataFrame(ROWS, columns=list("abc")))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files are made before they are sent."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


def mixture() -> GaussianMixture:
    return GaussianMixture(3, random_state=0, max_iter=3, tol=0, algorithm="em")


def put(bucket: Bucket, key: str, content: bytes) -> None:
    fsspec.filesystem("s3", **bucket.options).pipe_file(f"{bucket.name}/{key}", content)


def content(bucket: Bucket, prefix: str) -> dict[str, bytes]:
    files = fsspec.filesystem("s3", **bucket.options)
    return {
        name.removeprefix(prefix + "/"): files.cat_file(f"{bucket.name}/{name}")
        for name in bucket.keys(prefix)
    }


def asked(bucket: Bucket) -> dict[str, Any]:
    return {"storage_options": bucket.options, "output_options": bucket.options, "keys": ["id"]}


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_fit_and_its_answers_are_the_same_in_a_storm(
    bucket: Bucket, rows: str, home: Path, tmp_path: Path, scratch: Path
) -> None:
    local = mixture().fit(home, features=list("abc"))
    local.write_predictions(home, tmp_path / "out", keys=["id"], probabilities=True)
    storm(bucket)
    fitted = mixture().fit(rows, features=list("abc"), storage_options=bucket.options)
    assert bits(fitted) == bits(local)
    storm(bucket)
    bucket.proxy.fault("slow down", "PUT .*part-2", times=2)
    fitted.write_predictions(rows, bucket.url("out"), probabilities=True, **asked(bucket))
    assert all(fault.met for fault in bucket.proxy.faults)
    bucket.proxy.calm()
    assert content(bucket, "out") == content_of(tmp_path / "out")
    assert not list(scratch.iterdir())


@pytest.mark.filterwarnings("ignore:Sending large graph")
def test_workers_in_processes_read_and_write(
    bucket: Bucket, rows: str, home: Path, tmp_path: Path, client: Any
) -> None:
    local = mixture().fit(home, features=list("abc"))
    local.write_predictions(home, tmp_path / "out", keys=["id"])
    # workers are slow to answer while they start, and their pauses are as long as they are
    options = bucket.options | {"config_kwargs": {"read_timeout": 10}}
    faults = [bucket.proxy.fault("slow down", "GET .*part-2", times=1)]
    fitted = mixture().fit(rows, features=list("abc"), storage_options=options, client=client)
    assert bits(fitted) == bits(local)
    faults += [bucket.proxy.fault("drop", "PUT .*/out/.*part-1", times=1)]
    reached = {"storage_options": options, "output_options": options}
    local.write_predictions(rows, bucket.url("out"), client=client, keys=["id"], **reached)
    assert [fault.met for fault in faults] == [1, 1]
    assert content(bucket, "out") == content_of(tmp_path / "out")


@pytest.mark.parametrize("kind", ["slow down", "drop"])
@pytest.mark.parametrize("name", ["part-2", "_dask_em"])
def test_what_is_broken_off_vanishes(
    bucket: Bucket, rows: str, model: GaussianMixture, scratch: Path, kind: str, name: str
) -> None:
    after = 1 if name == "_dask_em" else 0  # when it is told to be whole
    bucket.proxy.fault(kind, f"PUT .*{name}", after=after)
    with pytest.raises(SourceError, match=f"{name}.* did not answer in 5 tries"):
        model.write_predictions(rows, bucket.url("out"), **asked(bucket))
    bucket.proxy.calm()
    assert not bucket.keys("out")
    assert not list(scratch.iterdir())


def test_until_it_is_whole_it_says_so_and_is_replaced(
    bucket: Bucket, rows: str, model: GaussianMixture
) -> None:
    # what a process leaves that was killed
    put(bucket, "out/_dask_em.json", b'{"dask_em": "unfinished output"}')
    put(bucket, "out/year=2009/part-9.parquet", b"PAR1")
    with pytest.raises(SourceError, match="exists; pass overwrite=True"):
        model.write_predictions(rows, bucket.url("out"), **asked(bucket))
    model.write_predictions(rows, bucket.url("out"), overwrite=True, **asked(bucket))
    found = content(bucket, "out")
    assert json.loads(found["_dask_em.json"]) == {"dask_em": "output"}
    assert len(found) == 5
    files = fsspec.filesystem("s3", **bucket.options)
    table = pq.read_table(f"{bucket.name}/out", filesystem=files)
    assert np.array_equal(np.sort(table["id"]), np.arange(N))


def test_a_mark_that_is_denied_is_no_absent_mark(
    bucket: Bucket, rows: str, model: GaussianMixture
) -> None:
    model.write_predictions(rows, bucket.url("out"), **asked(bucket))
    before = content(bucket, "out")
    bucket.proxy.fault("denied", "GET .*_dask_em")
    with pytest.raises(SourceError, match="_dask_em.json is denied"):
        model.write_predictions(rows, bucket.url("out"), overwrite=True, **asked(bucket))
    bucket.proxy.calm()
    assert content(bucket, "out") == before


def test_nothing_is_sent_after_the_writing_was_given_up(
    bucket: Bucket, rows: str, model: GaussianMixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pq.ParquetWriter.close

    def close(self: Any) -> None:
        original(self)
        open_files(bucket.url("out"), bucket.options).remove("_dask_em.json")

    monkeypatch.setattr(pq.ParquetWriter, "close", close)
    with pytest.raises(SourceError, match="is not there on a worker: either its writing has ended"):
        model.write_predictions(rows, bucket.url("out"), **asked(bucket))
    assert not bucket.keys("out")


def test_a_large_file_is_sent_in_parts(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask_em.remote.files.PART_BYTES", 5 << 20)
    content = RNG.bytes(12 << 20)
    (tmp_path / "large").write_bytes(content)
    bucket.proxy.fault("slow down", "PUT .*partNumber=2", times=2)
    files = open_files(bucket.url("out"), bucket.options)
    bucket.proxy.count()
    files.upload(str(tmp_path / "large"), "large")
    assert sum("partNumber=3" in line for line in bucket.proxy.requests) == 1
    assert files.read("large") == content
