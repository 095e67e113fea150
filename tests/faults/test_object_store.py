"""Models, answers and checkpoints on a real S3 server that is slow, refuses and breaks."""

from __future__ import annotations

import gc
import re
from typing import Any

import numpy as np
import pytest
import zarr

import dask_em
from dask_em import ArchiveError, GaussianMixture, SourceError, archive
from dask_em.sources import drafts
from tests.engine.sources import clusters
from tests.s3 import Bucket

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization")

ROWS = clusters(2000, 3)
WEATHER = [("slow down", 3), ("drop", 3), ("internal", 3), ("truncate", 2)]


def storm(bucket: Bucket) -> None:
    """Some of all requests from here are refused or broken off, and all are a little slow."""
    bucket.proxy.latency = 0.002
    for number, (kind, times) in enumerate(WEATHER):
        bucket.proxy.fault(kind, "", times, after=2 + 7 * number)


def mixture(**given: Any) -> GaussianMixture:
    return GaussianMixture(3, random_state=0, max_iter=given.pop("max_iter", 2), tol=0, **given)


def bits(model: GaussianMixture) -> bytes:
    return b"".join(a.tobytes() for a in (model.weights_, model.means_, model.covariances_))


EXPECTED: dict[str, bytes] = {}


def expected_of(bucket: Bucket, rows: str, algorithm: str = "em") -> bytes:
    """The bits of a fit in fair weather; the rows of all tests are the same."""
    if algorithm not in EXPECTED:
        fitted = mixture(algorithm=algorithm).fit(rows, storage_options=bucket.options)
        EXPECTED[algorithm] = bits(fitted)
    return EXPECTED[algorithm]


@pytest.fixture
def rows(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> str:
    """Eight chunks, each of which is read and answered alone."""
    monkeypatch.setattr("dask_em.sources.drafts.GRACE", 0.05)
    monkeypatch.setattr("dask_em.sources.tiling.TARGET_BYTES", 6000)
    return bucket.array("rows.zarr", ROWS, chunks=(250, 3))


@pytest.fixture
def fitted() -> GaussianMixture:
    return mixture().fit(ROWS)


def test_a_fit_is_the_same_in_a_storm(bucket: Bucket, rows: str) -> None:
    expected = expected_of(bucket, rows)
    storm(bucket)
    fitted = mixture(algorithm="em").fit(rows, storage_options=bucket.options)
    assert bits(fitted) == expected
    assert all(fault.met for fault in bucket.proxy.faults)


@pytest.mark.filterwarnings("ignore:Sending large graph")
def test_workers_in_processes_read_and_write(bucket: Bucket, rows: str, client: Any) -> None:
    expected = expected_of(bucket, rows)
    storm(bucket)
    model = mixture(algorithm="em").fit(rows, storage_options=bucket.options, client=client)
    assert bits(model) == expected
    model.write_predictions(
        rows, bucket.url("labels.zarr"), client=client, output_options=bucket.options
    )
    found = zarr.open_group(bucket.store("labels.zarr"), mode="r")
    assert found.attrs[drafts.MARK] == drafts.WHOLE
    np.testing.assert_array_equal(found["class"][:], model.predict(ROWS))


def test_models_are_saved_and_loaded_in_a_storm(bucket: Bucket, fitted: GaussianMixture) -> None:
    url = bucket.url("model.zarr")
    storm(bucket)
    fitted.save(url, storage_options=bucket.options)
    assert bits(dask_em.load(url, storage_options=bucket.options)) == bits(fitted)
    with pytest.raises(ArchiveError, match="exists; pass overwrite=True"):
        fitted.save(url, storage_options=bucket.options)
    fitted.save(url, overwrite=True, storage_options=bucket.options)
    assert bits(dask_em.load(url, storage_options=bucket.options)) == bits(fitted)


@pytest.mark.parametrize("after", [1, 6, 12])  # the groups, the arrays, their bytes
def test_a_model_that_is_broken_off_is_none_and_its_place_free(
    bucket: Bucket, fitted: GaussianMixture, after: int
) -> None:
    url = bucket.url("model.zarr")
    fault = bucket.proxy.fault("drop", "PUT", after=after)
    with pytest.raises(ArchiveError, match="did not answer in 5 tries"):
        fitted.save(url, storage_options=bucket.options)
    assert fault.met
    with pytest.raises(ArchiveError, match="no model|half-written"):
        dask_em.load(url, storage_options=bucket.options)
    bucket.proxy.calm()
    fitted.save(url, overwrite=True, storage_options=bucket.options)
    assert bits(dask_em.load(url, storage_options=bucket.options)) == bits(fitted)


def test_a_model_is_saved_and_loaded_with_several_requests_at_a_time(
    bucket: Bucket, fitted: GaussianMixture
) -> None:
    url, options = bucket.url("model.zarr"), {"storage_options": bucket.options}
    bucket.proxy.latency = 0.03
    bucket.proxy.count()
    fitted.save(url, **options)
    assert len(bucket.proxy.requests) <= 22  # five arrays in four groups
    assert bucket.proxy.most_writes >= 4
    bucket.proxy.count()
    dask_em.load(url, **options)
    assert len(bucket.proxy.requests) <= 13
    assert bucket.proxy.most_in_flight >= 4


def test_a_model_that_is_not_replaced_stays(
    bucket: Bucket, fitted: GaussianMixture, caplog: pytest.LogCaptureFixture
) -> None:
    url = bucket.url("model.zarr")
    fitted.save(url, storage_options=bucket.options)
    other = mixture(max_iter=1).fit(ROWS)
    for after in (0, 9):
        bucket.proxy.calm()
        fault = bucket.proxy.fault("internal", "PUT", after=after)
        with pytest.raises(ArchiveError, match="did not answer"):
            other.save(url, overwrite=True, storage_options=bucket.options)
        assert fault.met
        assert bits(dask_em.load(url, storage_options=bucket.options)) == bits(fitted)
    gc.collect()
    assert not caplog.records  # such as errors of requests for which nobody asks


def test_answers_that_are_broken_off_vanish(bucket: Bucket, rows: str) -> None:
    model = mixture().fit(ROWS)
    url, options = bucket.url("labels.zarr"), {"storage_options": bucket.options}
    bucket.proxy.fault("slow down", "PUT .*/class/c/3")
    with pytest.raises(SourceError, match=r"class/c/3 did not answer in 5 tries"):
        model.write_predictions(rows, url, output_options=bucket.options, **options)
    bucket.proxy.calm()
    assert not bucket.keys("labels.zarr")
    model.write_predictions(rows, url, output_options=bucket.options, **options)
    found = zarr.open_group(bucket.store("labels.zarr"), mode="r")
    np.testing.assert_array_equal(found["class"][:], model.predict(ROWS))


def test_answers_are_written_several_at_a_time(bucket: Bucket, rows: str) -> None:
    model = mixture().fit(ROWS)
    bucket.proxy.latency = 0.01
    bucket.proxy.count()
    options = {"output_options": bucket.options, "storage_options": bucket.options}
    wanted = {name: bucket.url(f"{name}.zarr") for name in ("probabilities", "log_density")}
    model.write_predictions(rows, bucket.url("labels.zarr"), **wanted, **options)
    answers = re.compile(r"PUT .*/(class|probability|log_likelihood)/c/")
    written = [line for line in bucket.proxy.requests if answers.match(line)]
    assert len(written) == len(set(written)) == 24  # each chunk of three arrays, once
    assert bucket.proxy.most_writes > 2


def test_a_fit_goes_on_from_a_checkpoint(bucket: Bucket, rows: str) -> None:
    options, algorithm = {"storage_options": bucket.options}, "accelerated"
    expected = expected_of(bucket, rows, algorithm)
    url = bucket.url("ck")
    storm(bucket)
    mixture(algorithm=algorithm, max_iter=1).fit(rows, checkpoint=url, **options)
    model = mixture(algorithm=algorithm).fit(rows, checkpoint=url, **options)
    assert bits(model) == expected
    assert sum(name.endswith("checkpoint.json") for name in bucket.keys("ck")) == 1


@pytest.mark.parametrize("after", [3, 10])  # in the sample, in a pass
def test_a_fit_whose_checkpoint_is_cut_off_goes_on(bucket: Bucket, rows: str, after: int) -> None:
    options = {"storage_options": bucket.options}
    expected, model = expected_of(bucket, rows), mixture(algorithm="em")
    fault = bucket.proxy.fault("drop", "(PUT|DELETE|POST) .*/ck/", after=after)
    with pytest.raises(ArchiveError, match="did not answer in 5 tries"):
        model.fit(rows, checkpoint=bucket.url("ck"), **options)
    assert fault.met
    bucket.proxy.calm()
    assert bits(model.fit(rows, checkpoint=bucket.url("ck"), **options)) == expected


def test_a_checkpoint_that_is_denied_is_not_begun_anew(bucket: Bucket, rows: str) -> None:
    options = {"storage_options": bucket.options}
    mixture(max_iter=1).fit(rows, checkpoint=bucket.url("ck"), **options)
    before = bucket.keys("ck")
    for kind in ("denied", "internal"):
        bucket.proxy.calm()
        bucket.proxy.fault(kind, "(GET|HEAD) .*/ck/")
        with pytest.raises(ArchiveError, match=r"denied|did not answer"):
            mixture().fit(rows, checkpoint=bucket.url("ck"), **options)
    bucket.proxy.calm()
    assert bucket.keys("ck") == before


@pytest.mark.parametrize("call", [archive.load, archive.inspect, archive.exists])
def test_a_model_that_is_denied_says_what_to_do(bucket: Bucket, fitted: Any, call: Any) -> None:
    url = bucket.url("model.zarr")
    fitted.save(url, storage_options=bucket.options)
    bucket.proxy.fault("denied")
    with pytest.raises(ArchiveError, match=r"model.zarr.* is denied.*AWS_PROFILE"):
        call(url, storage_options=bucket.options)
