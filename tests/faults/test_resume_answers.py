"""Answers whose writing is killed with all its processes, and goes on to the same files."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.faults import resumable_answers
from tests.faults.moments import moments
from tests.faults.resumable_answers import answer, files_of, model, prepare

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups")


def started(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.resumable_answers", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def ended(process: subprocess.Popen[str]) -> str:
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    return stdout


@pytest.mark.parametrize("form", ["zarr", "zarr-over", "parquet", "parquet-over"])
def test_killed_at_any_moment_of_writing(form: str, tmp_path: Path) -> None:
    assert f"{moments(2)} of" in ended(started(tmp_path, form, moments(2)))


def test_killed_with_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While tasks are at work; the scheduler, the workers and the client at once."""
    prepare(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    process, enough = started(tmp_path, "cluster"), random.randint(1, 10)
    while len(done_in(out)) < enough:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert not psutil.wait_procs(children, timeout=10)[1]
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
