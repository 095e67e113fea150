"""The command in processes of its own: clusters, Ctrl-C, a full disk, the demo."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import numpy as np
import psutil
import pytest
import zarr
from distributed import Client
from PIL import Image

import dask_em
from dask_em.cli.cluster import local_cluster
from tests.cli.conftest import finish, limit_files, run, spawn

if TYPE_CHECKING:
    from distributed import LocalCluster

WORKERS = ["--workers", 2, "--memory", "1GB"]


def test_local_cluster_gives_the_same_model(large: str) -> None:
    words = ["fit", large, "-k", 3, "--seed", 0, "--json"]
    run(*words, "--out", "one.zarr")
    stdout, stderr = finish(spawn(*words, "--out", "other.zarr", *WORKERS))
    found = json.loads(stdout)
    assert "dashboard http://127.0.0.1:" in stderr
    assert 0 < found["peak_worker_bytes"] < 1e9
    one, other = dask_em.load("one.zarr"), dask_em.load("other.zarr")
    np.testing.assert_array_equal(one.means_, other.means_)


def test_a_worker_that_died_may_take_its_time_to_come_back() -> None:
    soon = {"distributed.deploy.lost-worker-timeout": "1ms"}
    with (
        dask.config.set(soon),
        local_cluster(1, 1, None, dashboard="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(1, timeout=60)
        (died,) = client.run(os.getpid).values()
        os.kill(died, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while died in (found := list(client.run(os.getpid, on_error="ignore").values()) or [died]):
            assert time.monotonic() < deadline, "it is not there any more"
            time.sleep(0.1)
        assert len(found) == 1


def test_running_scheduler(large: str, cluster: LocalCluster) -> None:
    address = ["--scheduler", cluster.scheduler_address]
    finish(spawn("fit", large, "-k", 3, "--out", "model.zarr", *address))
    finish(spawn("predict", "model.zarr", large, "--out", "labels.zarr", *address))
    expected = dask_em.load("model.zarr").predict(zarr.open_array(large)[:])
    np.testing.assert_array_equal(zarr.open_array("labels.zarr", path="class"), expected)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_knows_few_letters(encoding: str, folder: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    words = ["job", "init", "fit", "d", "-k", 2, "--out", "работа.json"]
    stdout, _ = finish(spawn(*words, env=environment))
    assert stdout.startswith("wrote ??????.json\n")


def test_ctrl_c_while_it_starts(folder: Path) -> None:
    (folder / "dask_em_slow.py").write_text("import sys; print(1, flush=True); sys.stdin.read()")
    code = """if True:
        import builtins
        import sys
        from dask_em.cli import main
        found = builtins.__import__
        def slow(name, *args, **kwargs):
            return found("dask_em_slow" if name == "dask_em.cli.app" else name, *args, **kwargs)
        builtins.__import__ = slow
        main()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process, code=130) == ("", "")


def test_ctrl_c(large: str, folder: Path) -> None:
    endless = ["--tol", 0, "--max-iter", 10**6]
    process = spawn("fit", large, "-k", 3, "--out", "model.zarr", *endless, *WORKERS)
    assert process.stderr is not None
    while not process.stderr.readline().strip().startswith("3 "):
        assert process.poll() is None
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = finish(process, code=130)
    assert "interrupted; nothing was left half-written" in stderr
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert sorted(path.name for path in folder.iterdir()) == [large]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_interrupted_with_a_checkpoint(end: signal.Signals, large: str, folder: Path) -> None:
    words = ["fit", large, "-k", 3, "--seed", 0, "--tol", 0, "--algorithm", "em"]
    kept = ["--checkpoint", "run.ckpt"]
    process = spawn(*words, *kept, "--max-iter", 10**6, "--out", "model.zarr")
    assert process.stderr is not None
    while not process.stderr.readline().strip().startswith("3 "):
        assert process.poll() is None
    os.killpg(process.pid, end)
    finish(process, code=130 if end == signal.SIGINT else -end)
    (last,) = (folder / "run.ckpt").glob("start-0-*")
    made = int(last.name[-6:])
    assert made >= 3
    more = ["--max-iter", made + 2]
    run(*words, *kept, *more, "--out", "model.zarr")
    run(*words, *more, "--out", "whole.zarr")
    found, whole = dask_em.load("model.zarr"), dask_em.load("whole.zarr")
    assert found.lower_bounds_ == whole.lower_bounds_
    np.testing.assert_array_equal(found.means_, whole.means_)


def test_scheduler_that_says_nothing(store: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        words = ["fit", store, "-k", 2, "--out", "model.zarr", "--scheduler", address]
        _, stderr = finish(spawn(*words), code=1)
    assert f"no Dask scheduler answers at {address} within 5 s" in stderr


@pytest.mark.skipif(os.name == "nt", reason="there is no limit of file sizes on Windows")
def test_full_disk(store: str, model: str, folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    full = {"preexec_fn": limit_files(4096)}
    words = ["predict", model, store, "--out", "labels.zarr", "--log-density", "d.zarr", *WORKERS]
    _, stderr = finish(spawn(*words, **full), code=1)
    assert "cannot be written (OSError: File too large)" in stderr
    # a model larger than a file may be; plain EM, as no better one is wanted
    words = ["fit", store, "-k", 100, "--max-iter", 1, "--algorithm", "em", "--out", "other.zarr"]
    _, stderr = finish(spawn(*words, **full), code=1)
    assert "cannot be written" in stderr
    assert sorted(path.name for path in folder.iterdir()) == before


def test_demo(folder: Path) -> None:
    words = ["demo", "--size", "40MB", "--out", "demo", "--json"]
    found = json.loads(finish(spawn(*words))[0])
    assert found["passes"][0]["nbytes"] == pytest.approx(40e6, rel=0.2)
    assert found["peak_worker_bytes"] < 400e6
    with Image.open(found["picture"]) as picture:
        assert picture.size > (1000, 800)
    labels = zarr.open_array(found["labels"], path="class")
    assert len(np.unique(labels[0])) == 8
    assert "holds an earlier demo" in run("demo", "--out", "demo", code=1).stderr
