"""`dask-em watch`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from dask_em.cli.jobs.follow import News
from dask_em.cli.jobs.screen import Lines, Screen, watching
from dask_em.errors import ClusterError
from dask_em.service.view import JobView, Mark
from tests.cli.conftest import run
from tests.cli.jobs.conftest import DONE, FAILED, QUEUED, RUNNING, FakeJob, FakeService, one_pass

PASSES = tuple(one_pass(number) for number in (1, 2, 3, 4))
LOST = Mark("lost", 3, RUNNING.submitted, "tcp://10.0.0.7:4000 died; it goes on after pass 2")
THIRD = replace(RUNNING, passes=3, doing="pass 4", objective=-3.33)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120, height=30)


def shown(screen: Screen) -> str:
    with screen.console.capture() as found:
        screen.console.print(screen.drawn())
    return Text.from_ansi(found.get()).plain


def test_lines(service: FakeService) -> None:
    started = replace(RUNNING, id=QUEUED.id)
    done = replace(DONE, id=QUEUED.id)
    job = service.add(QUEUED, later=(started, done), passes=PASSES, befell=(LOST,))
    lines = run("watch", job.id).stdout.splitlines()
    assert lines[0] == f"{job.id} queued, place 3: fit of {QUEUED.what}, {QUEUED.data}"
    assert lines[1] == f"{job.id} running, pass 3, on tcp://10.0.0.7:4000"
    assert lines[2].split()[:2] == ["pass", "log-likelihood/row"]
    assert [line.split()[0] for line in lines[3:5]] == ["sample", "2"]
    assert "lost: tcp://10.0.0.7:4000 died" in lines[5]
    assert [line.split()[0] for line in lines[6:8]] == ["3", "4"]
    assert lines[8].startswith(f"{job.id} done after 4 passes in 5 min; log-likelihood -3.5")
    assert lines[9:] == [f"next: dask-em result {job.id}"]


def test_only_what_is_new_is_asked_for(service: FakeService) -> None:
    busy = [replace(RUNNING, tasks_done=done) for done in range(6, 16)]
    job = service.add(RUNNING, later=(*busy, THIRD, DONE), passes=PASSES)
    run("watch", job.id)
    assert job.asked == ["trace 0", "trace 2", "trace 3"]


def test_one_that_has_ended(service: FakeService) -> None:
    service.add(DONE, passes=PASSES)
    text = run("watch", DONE.id).stdout
    assert text.count("done after 4 passes") == 1


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_one_that_gave_nothing(state: str, service: FakeService) -> None:
    service.add(replace(FAILED, state=state))
    done = run("watch", FAILED.id, code=1)
    assert f"{FAILED.id} {state} after 4 passes" in done.stdout
    told = f"error: job {FAILED.id} failed: DataError: rows with NaN; dask-em show {FAILED.id}"
    assert done.stderr.startswith(told) if state == "failed" else not done.stderr


def test_a_prediction_has_no_model(service: FakeService) -> None:
    service.add(replace(DONE, task="predict", output="s3://bucket/labels"))
    assert "next: dask-em inspect s3://bucket/labels" in run("watch", DONE.id).stdout


def test_json_is_one_document(service: FakeService) -> None:
    service.add(RUNNING, later=(THIRD, DONE), passes=PASSES)
    done = run("watch", RUNNING.id, "--json")
    assert json.loads(done.stdout)["state"] == "done"
    assert "log-likelihood/row" in done.stderr


def interrupted(*_: Any) -> Iterator[JobView]:
    yield THIRD
    raise KeyboardInterrupt


def test_ctrl_c_leaves(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    service.add(RUNNING, passes=PASSES)
    monkeypatch.setattr(FakeJob, "watch", interrupted)
    done = run("watch", RUNNING.id, "--scheduler", "tcp://a:1", code=130)
    assert done.stderr == (
        f"left; job {RUNNING.id} goes on. To watch it again: dask-em watch {RUNNING.id} "
        "--scheduler tcp://a:1\n"
    )


def test_all_jobs(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_em.cli.jobs.watch_all.PAUSE", 0)
    job = service.add(RUNNING, later=(THIRD, DONE))
    service.add(FAILED)  # before anybody watched
    monkeypatch.setattr("time.sleep", lambda _: job.refresh())
    lines = run("watch").stdout.splitlines()
    assert [line.split()[2] for line in lines] == [RUNNING.id, FAILED.id, RUNNING.id, RUNNING.id]
    assert "running, pass 4, 3 of 100 passes; log-likelihood -3.33" in lines[2]
    assert "done after 4 passes" in lines[3]


def gone_once(monkeypatch: pytest.MonkeyPatch, kind: type, *names: str) -> list[str]:
    """What is asked first of each of these finds no scheduler, once somebody has seen it."""
    missed: list[str] = []
    asked: set[str] = set()

    def wrapped(name: str, ask: Any) -> Any:
        def answer(self: Any, *args: Any, **kwargs: Any) -> Any:
            if name in asked and name not in missed:
                missed.append(name)
                raise ClusterError("no scheduler answers")
            asked.add(name)
            return ask(self, *args, **kwargs)

        return answer

    for name in names:
        monkeypatch.setattr(kind, name, wrapped(name, getattr(kind, name)))
    return missed


def test_a_scheduler_that_comes_back_is_waited_for(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    missed = gone_once(monkeypatch, FakeJob, "trace", "marks")
    service.add(RUNNING, later=(THIRD, DONE), passes=PASSES)
    assert "done after 4 passes" in run("watch", RUNNING.id).stdout
    assert missed == ["trace", "marks"]
    missed = gone_once(monkeypatch, FakeJob, "refresh", "logs")
    service.add(RUNNING, later=(THIRD, THIRD, DONE))
    run("logs", RUNNING.id, "--follow")
    assert sorted(missed) == ["logs", "refresh"]


def test_a_scheduler_that_comes_back_while_all_jobs_are_watched(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = gone_once(monkeypatch, FakeService, "jobs")
    job = service.add(RUNNING, later=(THIRD, DONE))
    monkeypatch.setattr("time.sleep", lambda _: job.refresh())
    assert "done after 4 passes" in run("watch").stdout
    assert missed


def test_all_jobs_one_fails(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    job = service.add(RUNNING, later=(replace(FAILED, id=RUNNING.id),))
    monkeypatch.setattr("time.sleep", lambda _: job.refresh())
    assert json.loads(run("watch", "--json", code=1).stdout)["jobs"][0]["state"] == "failed"


def test_all_jobs_ctrl_c(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    service.add(RUNNING)
    monkeypatch.setattr("time.sleep", interrupt)
    assert "left; the jobs go on" in run("watch", code=130).stderr


def test_no_jobs(service: FakeService) -> None:
    assert run("watch").stdout == "there are no jobs\n"


def test_a_screen_where_there_is_a_terminal() -> None:
    assert isinstance(watching(terminal()), Screen)
    assert isinstance(watching(Console(file=io.StringIO())), Lines)


def test_the_screen_shows_the_job() -> None:
    screen = Screen(terminal())
    assert shown(screen).strip() == ""
    with screen:
        screen.see(News(RUNNING, PASSES[:2], ()))
        screen.see(News(THIRD, PASSES[2:], (LOST,)))
        text = shown(screen)
    for words in (
        RUNNING.id,
        "fit gaussian_mixture k=3 full",
        "running, pass 4",
        "3 of 100, after 3 h",
        "▁▆█ ",  # -5, -3.33, -2.5; that of the sample is on other rows
        "-3.330000000 per row",
        "5/16 tasks",
        "500 k rows/s, 12 MB/s; 50% reading, 25% computing, 25% waiting",
        "lost: tcp://10.0.0.7:4000 died",
        "log-likelihood/row",
        "sample",
        "+2.500e-01",
    ):
        assert words in text


def test_a_low_screen_shows_the_last_passes() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=10)
    screen = Screen(console)
    screen.see(News(RUNNING, tuple(one_pass(number) for number in range(1, 90)), ()))
    text = shown(screen)
    assert "sample" not in text
    assert "-0.112359551" in text  # the last
    assert text.count("+2.500e-01") == 3
