"""Fits that are killed with all their processes, and go on to the same bits."""

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

from tests.faults.moments import long, moments
from tests.faults.resumable import PASSES, fitted_bits

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups")


def started(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.resumable", *map(str, words)],
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


@pytest.mark.parametrize("algorithm", ["em", "accelerated", "sweep"])
def test_killed_at_any_moment_of_writing(algorithm, tmp_path):
    assert f"{moments(6)} of" in ended(started(tmp_path, algorithm, "here"))


@pytest.mark.parametrize("where", ["cluster", pytest.param("slow-cluster", marks=long)])
@pytest.mark.parametrize("algorithm", ["em", "accelerated"])
def test_killed_with_all_workers(algorithm, where, tmp_path):
    """In a pass, or while it is written; the scheduler, the workers and the client at once."""
    folder, last = tmp_path / "ck", random.randint(1, PASSES - 1)
    process = started(folder, algorithm, where)
    writing = f".start-0-pass-{last:06d}.*.tmp"
    while not list(folder.glob(f"start-0-pass-{last:06d}" if where == "cluster" else writing)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.3))
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert not psutil.wait_procs(children, timeout=10)[1]
    found = ended(started(folder, algorithm, where)).split()[-1]
    assert found == fitted_bits(None, algorithm)
