"""`dask-em serve`, and the commands as they are used against it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import psutil
import pytest
import zarr

import dask_em
from tests.cli.conftest import CENTRES, finish, run, spawn

if TYPE_CHECKING:
    from distributed import LocalCluster

ANY_PORT = ["--port", 0, "--dashboard-port", 0]


@contextmanager
def serving(*words: Any, end: signal.Signals = signal.SIGTERM) -> Iterator[dict[str, str]]:
    """What a service says that runs in a process of its own, until the context ends."""
    process = spawn("serve", *ANY_PORT, "--workers", 1, "--memory", "1GB", *words)
    try:
        yield _told(process)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        # a Ctrl-C in a shell is heard by the workers as well
        os.killpg(process.pid, end) if end == signal.SIGINT else process.send_signal(end)
        _, stderr = finish(process)
        assert stderr.endswith("ending; jobs that run go on at the next serve\n")
        assert not psutil.wait_procs(children, timeout=10)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _told(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not (lines[-1] == "}" or "Ctrl-C ends it" in lines[-1]):
        lines.append(process.stdout.readline().rstrip("\n"))
        assert process.poll() is None, process.communicate()
    if lines[0] == "{":
        return dict(json.loads("".join(lines)))
    assert lines[4] == "workers   1 with 1 thread each"
    told = dict(line.split(maxsplit=1) for line in lines[:5])
    assert lines[5] == f"next: dask-em submit job.json --scheduler {told['scheduler']}"
    return told


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data."""
    folder = tmp_path_factory.mktemp("served")
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 300, 3)) + CENTRES[rng.integers(0, 3, size=(40, 300))]
    zarr.create_array(folder / "data.zarr", data=values, chunks=(1, 300, 3))
    return folder


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[dict[str, str]]:
    with serving("--store", place / "jobs", "--root", place, "--max-running", 1) as told:
        yield told


@pytest.fixture
def there(place: Path, served: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as the working directory, and the scheduler as Dask's configuration has it."""
    import dask

    monkeypatch.chdir(place)
    monkeypatch.setitem(dask.config.config, "scheduler-address", served["scheduler"])
    return place


def fetched(url: str, token: str | None = None) -> int:
    """The status of an answer."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urlopen(Request(url, headers=headers), timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def specified(name: str, *words: Any) -> str:
    Path(name).unlink(missing_ok=True)
    run("job", "init", "fit", "data.zarr", "-k", 3, "--seed", 0, *words, "--out", name)
    return name


def submitted(*words: Any) -> str:
    return str(json.loads(run("submit", specified("job.json", *words), "--json").stdout)["id"])


def test_the_whole_way(there: Path) -> None:
    found = submitted("--tag", "season=winter")
    lines = run("watch", found).stdout.splitlines()
    assert any(line.split()[0] == "sample" for line in lines)
    assert f"{found} done after" in lines[-2]
    assert lines[-1] == f"next: dask-em result {found}"
    assert found in run("jobs", "--tag", "season=winter", "--state", "done").stdout
    assert found not in run("jobs", "--owner", "nobody").stdout
    assert f"job       {found}" in run("show", found).stdout
    assert "converged" in run("logs", found).stdout
    assert "GaussianMixture, 3 components" in run("result", found, "--out", "got.zarr").stdout
    run("fit", "data.zarr", "-k", 3, "--seed", 0, "--out", "plain.zarr")
    plain, got = dask_em.load("plain.zarr"), dask_em.load("got.zarr")
    np.testing.assert_array_equal(got.means_, plain.means_)
    assert "it is done already" in run("cancel", found, code=1).stderr
    run("delete", found)
    assert "there is no job" in run("show", found, code=1).stderr


def test_the_page_and_rest(served: dict[str, str]) -> None:
    assert fetched(served["page"]) == fetched(served["rest"]) == 200
    assert fetched(f"{served['rest']}/nothing") == 404


def test_waiting_for_it(there: Path) -> None:
    done = json.loads(run("submit", specified("job.json"), "--wait", "--json").stdout)
    assert done["state"] == "done"


def test_one_that_takes_long(there: Path) -> None:
    endless = ["--tol", 0, "--max-iter", 10**6, "--algorithm", "em"]
    found = submitted(*endless)
    stderr = run("result", found, code=1).stderr
    assert "its model is there when it is done" in stderr
    run("cancel", found)
    assert f"{found} cancelled" in run("watch", found, code=1).stdout
    assert run("resume", found).stdout == f"{found} queued again\n"
    run("cancel", found)


def test_the_same_key_is_the_same_job(there: Path) -> None:
    name = specified("job.json")
    ids = {
        json.loads(run("submit", name, "--idempotency-key", "k", "--json").stdout)["id"]
        for _ in range(2)
    }
    assert len(ids) == 1
    run("watch", *ids)


def test_outside_of_the_roots(there: Path, tmp_path: Path) -> None:
    stderr = run("submit", specified("job.json", "--output", tmp_path / "m.zarr"), code=1).stderr
    assert "outside of what this service reads and writes" in stderr
    assert stderr.count("\n") == 1


def test_data_that_are_not_there(there: Path) -> None:
    told = json.loads(Path(specified("job.json")).read_text())
    told["data"]["url"] = str(there / "nowhere.zarr")
    Path("job.json").write_text(json.dumps(told))
    assert "nowhere.zarr does not exist" in run("submit", "job.json", code=1).stderr


def test_a_store_that_is_served(served: dict[str, str]) -> None:
    process = spawn("serve", *ANY_PORT, "--workers", 1, "--store", served["store"])
    stdout, stderr = finish(process, code=1)
    assert not stdout
    assert "is served by process" in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--port", "--dashboard-port"])
def test_a_port_that_is_taken(option: str, served: dict[str, str], folder: Path) -> None:
    url = served["scheduler"] if option == "--port" else served["page"].removesuffix("/em")
    port = url.rpartition(":")[2]
    stderr = run("serve", *ANY_PORT, option, port, code=1).stderr
    assert f"port {port} of 127.0.0.1 cannot be used" in stderr
    assert f"give another {option}" in stderr
    assert not list(folder.iterdir())


def test_jobs_go_on_at_the_next_serve(store: str, folder: Path) -> None:
    words = ["--tol", 0, "--max-iter", 40, "--algorithm", "em"]
    run("job", "init", "fit", store, "-k", 3, "--seed", 0, *words, "--out", "job.json")
    (folder / "token").write_text("sesame-open\n")
    with serving("--json", "--token-file", "token") as told:
        assert fetched(told["rest"]) == fetched(told["page"]) == 401
        assert fetched(told["rest"], "sesame-open") == fetched(told["page"], "sesame-open") == 200
        address = ["--scheduler", told["scheduler"]]
        found = json.loads(run("submit", "job.json", "--json", *address).stdout)["id"]
        watching = spawn("watch", found, *address)
        assert watching.stdout is not None
        while not watching.stdout.readline().strip().startswith("3 "):
            assert watching.poll() is None
        os.killpg(watching.pid, signal.SIGINT)
        _, stderr = finish(watching, code=130)
        assert f"left; job {found} goes on" in stderr
    with serving(end=signal.SIGINT) as told:
        address = ["--scheduler", told["scheduler"]]
        passes = [
            line.split()[0]
            for line in run("watch", found, *address).stdout.splitlines()
            if line.startswith("  ")
        ]
        run("result", found, "--out", "got.zarr", *address)
    assert passes[1:] == [str(number) for number in range(2, 2 + len(passes) - 1)]
    run("fit", store, "-k", 3, "--seed", 0, *words, "--out", "plain.zarr")
    plain, got = dask_em.load("plain.zarr"), dask_em.load("got.zarr")
    assert got.lower_bounds_ == plain.lower_bounds_
    np.testing.assert_array_equal(got.means_, plain.means_)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "cannot be read"), ("short\n", "holds 5 characters, a token has at least 8")],
)
def test_no_token(text: str | None, words: str, folder: Path) -> None:
    if text is not None:
        (folder / "token").write_text(text)
    stderr = run("serve", "--token-file", "token", code=2).stderr
    assert words in stderr
    assert "short" not in stderr


def test_a_scheduler_without_the_service(cluster: LocalCluster) -> None:
    stderr = run("jobs", "--scheduler", cluster.scheduler_address, code=1).stderr
    assert "has no job service" in stderr
    assert "--preload dask_em.preload" in stderr
    assert stderr.count("\n") == 1
