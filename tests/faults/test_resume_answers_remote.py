"""Answers in a bucket whose writing is cut off at some request, and goes on to the same objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import fsspec
import numpy as np
import pytest

from dask_em import DaskEmError, GaussianMixture
from tests.faults.moments import moments
from tests.faults.resumable_answers import ROWS, model, prepare
from tests.s3 import Bucket

WRITES = "(PUT|DELETE|POST) "


@pytest.fixture(scope="module")
def fitted() -> GaussianMixture:
    return model()


@pytest.fixture(autouse=True)
def _small_tasks(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("engine.plan.KEPT_TASK_BYTES", "sources.tiling.TARGET_BYTES"):
        monkeypatch.setattr(f"dask_em.{name}", 200 * 3 * 8)
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(tmp_path)
    return tmp_path


def answer(
    fitted: GaussianMixture, folder: Path, bucket: Bucket, form: str, out: str, **options: Any
) -> Any:
    options |= {"output_options": bucket.options, "overwrite": form.endswith("-over")}
    labels = bucket.url(f"{out}/l")
    if form.startswith("parquet"):
        options |= {"features": list("abc"), "keys": ["id"], "log_density": True}
        return fitted.write_predictions(folder / "rows", labels, **options)
    options["log_density"] = bucket.url(f"{out}/d")
    return fitted.write_predictions(folder / "rows.zarr", labels, **options)


def content(bucket: Bucket, prefix: str) -> dict[str, bytes]:
    files = fsspec.filesystem("s3", **bucket.options)
    names = {name.removeprefix(f"{prefix}/"): name for name in bucket.keys(f"{prefix}/")}
    return {
        name: files.cat_file(f"{bucket.name}/{key}")
        for name, key in names.items()
        if not name.startswith("ck/")
    }


@pytest.mark.parametrize("form", ["zarr", "zarr-over", "parquet", "parquet-over"])
def test_cut_off_at_any_request(
    form: str, folder: Path, bucket: Bucket, fitted: GaussianMixture
) -> None:
    other = model(500)

    def begun(out: str) -> str:
        if form.endswith("-over"):
            answer(other, folder, bucket, form, out)
        return out

    answer(fitted, folder, bucket, form, begun("plain"))
    expected = content(bucket, "plain")
    begun("whole")
    bucket.proxy.count()
    answer(fitted, folder, bucket, form, "whole", checkpoint=bucket.url("whole/ck"))
    assert content(bucket, "whole") == expected
    n = sum(line.startswith(("PUT", "DELETE", "POST")) for line in bucket.proxy.requests)
    for after in np.random.default_rng().integers(0, n, moments(2)).tolist():
        out = begun(f"after-{after}-{len(bucket.keys())}")
        options = {"checkpoint": bucket.url(f"{out}/ck")}
        fault = bucket.proxy.fault("denied", WRITES, after=after)
        try:
            answer(fitted, folder, bucket, form, out, **options)
        except DaskEmError:
            pass
        else:  # what is removed at the very end may stay: what tells of tasks, and claims
            assert after > n - 5 - len(ROWS) // 200
        assert fault.met
        bucket.proxy.calm()
        tally = answer(fitted, folder, bucket, form, out, **options)
        assert tally.rows == len(ROWS), f"cut off after {after} of {n} requests"
        assert content(bucket, out) == expected, f"cut off after {after} of {n} requests"


def test_a_local_output_may_have_its_checkpoint_in_a_bucket(
    folder: Path, bucket: Bucket, fitted: GaussianMixture
) -> None:
    from dask_em.place import parse_place

    place = parse_place(bucket.url("ck"), bucket.options)
    for _ in range(2):
        tally = fitted.write_predictions(folder / "rows.zarr", folder / "l", checkpoint=place)
        assert tally.rows == len(ROWS)
    assert bucket.keys("ck") == ["ck/checkpoint.json"]
