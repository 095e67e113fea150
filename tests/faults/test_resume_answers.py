"""Answers whose writing is killed with all its processes, and goes on to the same files."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.faults import resumable_answers
from tests.faults.killing import ended, kill_all, started
from tests.faults.moments import moments
from tests.faults.resumable_answers import answer, files_of, model, prepare

#: what is run, and killed
RUN = "tests.faults.resumable_answers"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups")


@pytest.mark.parametrize("form", ["zarr", "zarr-over", "parquet", "parquet-over"])
def test_killed_at_any_moment_of_writing(form: str, tmp_path: Path) -> None:
    assert f"{moments(2)} of" in ended(started(RUN, tmp_path, form, moments(2)))


def test_killed_with_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While tasks are at work; the scheduler, the workers and the client at once."""
    prepare(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    process, enough = started(RUN, tmp_path, "cluster"), random.randint(1, 10)
    while len(done_in(out)) < enough:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    kill_all(process)
    first = done_in(out)
    assert not (out / "l").exists()
    # in this process, which would cut the work into fewer tasks
    monkeypatch.setattr("dask_em.sources.tiling.TARGET_BYTES", 100 * 3 * 8)
    assert answer(model(), tmp_path, "zarr", out).rows == len(resumable_answers.ROWS)
    assert first
    assert not done_in(out)
    (tmp_path / "plain").mkdir()
    answer(model(), tmp_path, "zarr", tmp_path / "plain", keep=False)
    assert files_of(out) == files_of(tmp_path / "plain")


def done_in(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("ck/done-*.json"))
