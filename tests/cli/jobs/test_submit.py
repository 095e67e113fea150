"""`dask-em submit`, and what is said of a specification before a service is asked."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dask_em.cli.app import app
from dask_em.cli.jobs.specification import Specification
from dask_em.errors import AccessError, ClusterError, InputError, JobStateError, SourceError
from tests.cli.conftest import run
from tests.cli.jobs.conftest import DONE, RUNNING, FakeService, one_pass

FIT: dict[str, Any] = {
    "task": "fit",
    "data": {"url": "s3://bucket/ocean.zarr"},
    "model": {"kind": "gaussian_mixture", "n_components": 3},
    "output": "s3://bucket/model.zarr",
}


@pytest.fixture
def job(folder: Path) -> str:
    (folder / "job.json").write_text(json.dumps(FIT))
    return "job.json"


def test_tells_the_id_and_what_to_do_next(job: str, service: FakeService) -> None:
    service.add(RUNNING)
    address = ["--scheduler", "tcp://127.0.0.1:1"]
    lines = run("submit", job, "--idempotency-key", "nightly", *address).stdout.splitlines()
    assert lines == [
        f"{RUNNING.id} running, pass 3: fit of {RUNNING.what}, {RUNNING.data}",
        f"next: dask-em watch {RUNNING.id} --scheduler tcp://127.0.0.1:1",
        "      dask-em jobs --scheduler tcp://127.0.0.1:1",
    ]
    assert service.told == [(FIT, "nightly")]


def test_stdin(service: FakeService) -> None:
    service.add(RUNNING)
    done = CliRunner().invoke(app, ["submit", "-", "--json"], input=json.dumps(FIT))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["id"] == RUNNING.id
    assert service.told == [(FIT, None)]


def test_waits(job: str, service: FakeService) -> None:
    service.add(RUNNING, later=(DONE,), passes=(one_pass(1), one_pass(2), one_pass(3)))
    text = run("submit", job, "--wait").stdout
    assert f"{RUNNING.id} done after 4 passes" in text
    service.add(RUNNING, later=(DONE,))
    assert json.loads(run("submit", job, "--wait", "--json").stdout)["state"] == "done"


def changed(**changes: Any) -> str:
    return json.dumps({**FIT, **changes})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[1]", "does not fit"),
        (changed(ouput="x"), "ouput is not known; did you mean 'output'?"),
        (changed(data={"url": "a.zarr"}), "data.url is 'a.zarr', a relative path"),
        (changed(data={"url": ["s3://a", "b.pq"]}), "data.url is 'b.pq', a relative path"),
        (changed(output="~/m.zarr"), f"write '{Path.home()}/m.zarr'"),
        (
            changed(data={"url": "s3://a", "sample_weight": "w/x.zarr"}),
            "data.sample_weight is 'w/x.zarr'",
        ),
        (
            json.dumps(
                {"task": "predict", "data": {"url": "/a"}, "model": "m", "outputs": {"class": "c"}}
            ),
            "outputs.class is 'c', a relative path",
        ),
        ("\0" * 1_000_001, "takes 1,000,001 bytes, the limit is 1,000,000"),
    ],
    ids=lambda text: None if len(text) > 50 else text,
)
@pytest.mark.parametrize("command", ["submit", "job validate"])
def test_what_is_no_specification(command: str, text: str, words: str, folder: Path) -> None:
    (folder / "job.json").write_text(text)
    done = run(*command.split(), "job.json", code=2)
    assert done.stderr.startswith("error: job.json: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_paths_are_told_as_they_should_be(folder: Path) -> None:
    (folder / "job.json").write_text(changed(data={"url": "sub/../a.zarr"}, output="m.zarr"))
    stderr = run("submit", "job.json", code=2).stderr
    assert f"write '{folder}/a.zarr'" in stderr
    assert f"write '{folder}/m.zarr'" in stderr


def test_a_name_of_weights_is_no_path(folder: Path, service: FakeService) -> None:
    service.add(RUNNING)
    data = {"url": "s3://a", "sample_weight": "area"}
    (folder / "job.json").write_text(changed(data=data))
    run("submit", "job.json")


@pytest.mark.parametrize("path", ["nowhere.json", "."])
def test_no_file(path: str, folder: Path) -> None:
    stderr = run("submit", path, code=2).stderr
    assert f"{path} cannot be read" in stderr
    assert "dask-em job init writes one" in stderr


@pytest.mark.parametrize(
    "kind", [AccessError, ClusterError, InputError, JobStateError, SourceError]
)
def test_the_service_refuses(kind: type[Exception], job: str, service: FakeService) -> None:
    service.refuses = kind("that cannot be; do otherwise")
    done = run("submit", job, code=1)
    assert done.stderr == "error: that cannot be; do otherwise\n"
    assert not done.stdout


def test_ctrl_c_before_the_answer(
    job: str, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.refuses = KeyboardInterrupt()  # type: ignore[assignment]
    done = run("submit", job, "--scheduler", "tcp://a:1", code=130)
    assert done.stderr == (
        "left before the service had answered; it may have the job: dask-em jobs --scheduler "
        "tcp://a:1\n"
    )


def test_stdin_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(typer.Exit), contextlib.redirect_stderr(io.StringIO()) as stderr:
        Specification.read("-")
    assert "stdin is closed" in stderr.getvalue()


def test_no_scheduler_is_named(job: str) -> None:
    stderr = run("submit", job, code=2).stderr
    assert "no scheduler is named; pass --scheduler" in stderr
    assert "dask-em serve" in stderr


@pytest.mark.parametrize("how", ["option", "environment", "configuration"])
def test_nobody_listens(how: str, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    address, words = "tcp://127.0.0.1:1", ["submit", job]
    if how == "option":
        words += ["--scheduler", address]
    else:  # Dask reads the environment into its configuration
        monkeypatch.setitem(dask.config.config, "scheduler-address", address)
    assert f"no Dask scheduler answers at {address}" in run(*words, code=1).stderr
