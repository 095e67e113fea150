"""Processes of a group of their own, that are ended, or killed with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

__all__ = ["ended", "kill_all", "started"]


def started(module: str, *words: object) -> subprocess.Popen[str]:
    """A module of the tests, run with arguments."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What a process printed that ends well."""
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    return stdout


def kill_all(process: subprocess.Popen[str]) -> None:
    """Kill a process that has at least two others, and them, at once."""
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert not psutil.wait_procs(children, timeout=10)[1]
