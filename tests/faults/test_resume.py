"""Fits that are killed with all their processes, and go on to the same bits."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.faults.killing import ended, kill_all, started
from tests.faults.moments import long, moments
from tests.faults.resumable import PASSES, fitted_bits

#: what is run, and killed
RUN = "tests.faults.resumable"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups")


@pytest.mark.parametrize("algorithm", ["em", "accelerated", "sweep"])
def test_killed_at_any_moment_of_writing(algorithm, tmp_path):
    assert f"{moments(6)} of" in ended(started(RUN, tmp_path, algorithm, "here"))


@pytest.mark.parametrize("where", ["cluster", pytest.param("slow-cluster", marks=long)])
@pytest.mark.parametrize("algorithm", [pytest.param("em", marks=long), "accelerated"])
def test_killed_with_all_workers(algorithm, where, tmp_path):
    """In a pass, or while it is written; the scheduler, the workers and the client at once."""
    folder, last = tmp_path / "ck", random.randint(1, PASSES - 1)
    process = started(RUN, folder, algorithm, where)
    writing = f".start-0-pass-{last:06d}.*.tmp"
    while not list(folder.glob(f"start-0-pass-{last:06d}" if where == "cluster" else writing)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.3))
    kill_all(process)
    found = ended(started(RUN, folder, algorithm, where)).split()[-1]
    assert found == fitted_bits(None, algorithm)
