"""`dask-em jobs`."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from dask_em.cli.jobs.tables import jobs_table
from dask_em.cli.jobs.words import age, state
from dask_em.service.view import JobView
from tests.cli.conftest import run
from tests.cli.jobs.conftest import DONE, FAILED, QUEUED, RUNNING, FakeService


def test_a_line_for_each_job(service: FakeService) -> None:
    for view in (QUEUED, RUNNING, FAILED):
        service.add(view)
    lines = run("jobs").stdout.splitlines()
    assert [line.split()[0] for line in lines if line[:1].isalnum()] == [
        "job", QUEUED.id, RUNNING.id, FAILED.id,
    ]  # fmt: skip
    running = next(line for line in lines if RUNNING.id in line)
    assert "fit gaussian_mixture k=3 full" in running
    assert "running, pass 3" in running
    assert "2 of 100" in running
    assert "-3.500000000" in running
    assert " 3 h  ada" in running
    assert "ada" in running
    assert "queued, place 3" in next(line for line in lines if QUEUED.id in line)


def test_no_line_is_broken_where_there_is_no_terminal(service: FakeService) -> None:
    service.add(replace(RUNNING, what="gaussian_mixture " + "x" * 300))
    assert any("x" * 300 in line for line in run("jobs").stdout.splitlines())


def test_an_id_is_whole_on_the_smallest_screen() -> None:
    console = Console(file=io.StringIO(), width=38)
    console.print(jobs_table([RUNNING, QUEUED], 0.0))
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    assert RUNNING.id in text
    assert QUEUED.id in text


def test_filters_are_passed_on(service: FakeService) -> None:
    assert "no job is like that" in run("jobs", "--state", "done", "--tag", "a=b").stdout
    assert service.told == [("done", None, "a=b")]
    assert "there are no jobs" in run("jobs").stdout


def test_json_is_one_document(service: FakeService) -> None:
    service.add(RUNNING)
    (found,) = json.loads(run("jobs", "--json").stdout)["jobs"]
    assert found["id"] == RUNNING.id
    assert found["weights"] == [0.5, 0.25, 0.25]
    service.held.clear()
    assert json.loads(run("jobs", "--json").stdout) == {"jobs": []}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_ages(seconds: float, expected: str) -> None:
    assert age(seconds) == expected


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (RUNNING, "running, pass 3"),
        (replace(RUNNING, doing=""), "running"),
        (QUEUED, "queued, place 3"),
        (replace(QUEUED, position=None), "queued"),
        (replace(QUEUED, not_before=1029.5), "queued, tried again in 30 s"),
        (DONE, "done"),
    ],
)
def test_states(view: JobView, expected: str) -> None:
    assert state(view, 1000.0) == expected
