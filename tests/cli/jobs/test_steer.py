"""`dask-em cancel`, `resume`, `delete`, `logs` and `result`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dask_em
from tests.cli.conftest import run
from tests.cli.jobs.conftest import DONE, FAILED, QUEUED, RUNNING, FakeService


@pytest.fixture
def held(service: FakeService) -> FakeService:
    for view in (QUEUED, RUNNING, FAILED):
        service.add(view)
    return service


@pytest.mark.parametrize(
    ("command", "ids", "state", "words"),
    [
        ("cancel", [QUEUED.id, RUNNING.id], "cancelled", "cancelled"),
        ("resume", [FAILED.id], "queued", "queued again"),
        ("delete", [FAILED.id], "deleted", "deleted"),
    ],
)
def test_turns(command: str, ids: list[str], state: str, words: str, held: FakeService) -> None:
    assert run(command, *ids).stdout == "".join(f"{one} {words}\n" for one in ids)
    assert all(held.held[one].view.state == state for one in ids)


def test_json(held: FakeService) -> None:
    assert json.loads(run("resume", FAILED.id, "--json").stdout) == {"queued_again": [FAILED.id]}


@pytest.mark.parametrize(
    ("command", "job", "words"),
    [
        ("cancel", FAILED.id, f"job {FAILED.id} is failed already"),
        ("resume", RUNNING.id, f"job {RUNNING.id} is running already"),
        ("delete", QUEUED.id, f"job {QUEUED.id} is queued already"),
        ("cancel", "77b01d5f", "there is no job 77b01d5f; did you mean '77b01d5e'?"),
        ("logs", "77b01d5f", "did you mean '77b01d5e'?"),
        ("watch", "77b01d5f", "did you mean '77b01d5e'?"),
        ("result", "77b01d5f", "did you mean '77b01d5e'?"),
        (
            "result",
            RUNNING.id,
            f"job {RUNNING.id} is running; its model is there when it is done",
        ),
        ("result", FAILED.id, "failed and made no model: DataError: rows with NaN; dask-em resume"),
    ],
)
def test_what_cannot_be(
    command: str, job: str, words: str, held: FakeService, folder: Path
) -> None:
    done = run(command, job, code=1)
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert not list(folder.iterdir())


def test_one_that_refuses_does_not_keep_the_others(held: FakeService) -> None:
    done = run("cancel", FAILED.id, RUNNING.id, "nothing", code=1)
    assert done.stdout == f"{RUNNING.id} cancelled\n"
    assert done.stderr.count("error: ") == 2


def line(number: int) -> dict[str, Any]:
    return {
        "time": 1.0e9 + number, "level": "info", "text": f"pass {number}", "epoch": 1,
        "worker": "tcp://a:1" if number % 2 else None,
    }  # fmt: skip


def test_logs(service: FakeService) -> None:
    service.add(RUNNING, lines=[line(number) for number in range(9)])
    lines = run("logs", RUNNING.id, "--last", 2).stdout.splitlines()
    assert lines == [
        "2001-09-09 01:46:47Z info    pass 7  (tcp://a:1)",
        "2001-09-09 01:46:48Z info    pass 8",
    ]
    assert not run("logs", RUNNING.id, "--last", 0).stdout
    found = json.loads(run("logs", RUNNING.id, "--json").stdout)
    assert len(found["lines"]) == 9


def test_logs_are_followed(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    later = (RUNNING, RUNNING, replace(DONE, id=RUNNING.id))
    job = service.add(RUNNING, lines=[line(0), line(1)], later=later)
    monkeypatch.setattr("time.sleep", lambda _: job.lines.append(line(len(job.lines))))
    text = run("logs", RUNNING.id, "--follow", "--last", 1).stdout
    assert [one.split()[4] for one in text.splitlines()] == ["1", "2", "3"]


def test_logs_can_be_left(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    service.add(RUNNING)
    monkeypatch.setattr("time.sleep", interrupt)
    stderr = run("logs", RUNNING.id, "--follow", code=130).stderr
    assert f"goes on. To follow it again: dask-em logs {RUNNING.id} --follow" in stderr


def test_logs_without_end_are_no_document(service: FakeService) -> None:
    assert "--follow has no end" in run("logs", RUNNING.id, "--follow", "--json", code=2).stderr


def test_result(model: str, service: FakeService) -> None:
    service.add(DONE, saves=lambda path, over: dask_em.load(model).save(path, overwrite=over))
    text = run("result", DONE.id, "--out", "found.zarr").stdout
    assert "GaussianMixture, 3 components, full covariance" in text
    assert "saved found.zarr" in text
    expected = dask_em.load(model).means_
    np.testing.assert_array_equal(dask_em.load("found.zarr").means_, expected)
    run("result", DONE.id)
    assert dask_em.load(f"{DONE.id}.zarr")
    assert json.loads(run("result", DONE.id, "--json", "--overwrite").stdout)["means"]
    assert "--overwrite" in run("result", DONE.id, code=1).stderr


def test_a_job_without_a_model(service: FakeService, folder: Path) -> None:
    service.add(replace(DONE, task="predict"))
    assert "makes no model" in run("result", DONE.id, code=1).stderr
