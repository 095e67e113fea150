"""`dask-em show` of a job."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dask_em.cli.jobs.show import is_job
from dask_em.service.view import Mark
from tests.cli.conftest import run
from tests.cli.jobs.conftest import DONE, FAILED, QUEUED, RUNNING, FakeService, one_pass

ADDRESS = ["--scheduler", "tcp://127.0.0.1:1"]
PASSES = tuple(one_pass(number) for number in range(1, 30))
LOST = Mark("lost", 2, RUNNING.submitted, "tcp://10.0.0.7:4000 died")


def test_words(service: FakeService) -> None:
    service.add(replace(RUNNING, passes=29, restarts=1), passes=PASSES, befell=(LOST,))
    text = run("show", RUNNING.id, *ADDRESS).stdout
    for words in (
        f"job       {RUNNING.id}",
        "task      fit of gaussian_mixture k=3 full",
        "output    s3://bucket/model.zarr",
        "state     running, pass 3",
        "passes    29 of 100",
        "weights   0.5000, 0.2500, 0.2500",
        "tags      season=winter",
        "restarts  1",
        "after pass 2, lost: tcp://10.0.0.7:4000 died",
        f"next: dask-em watch {RUNNING.id} --scheduler tcp://127.0.0.1:1",
    ):
        assert words in text
    assert sum("+2.500e-01" in line for line in text.splitlines()) == 10  # the last passes
    assert "-0.344827586" in text
    assert "priority" not in text


def test_an_address_with_brackets_is_whole(service: FakeService) -> None:
    service.add(replace(RUNNING, worker="tcp://[fe80::1]:4000"))
    assert "worker    tcp://[fe80::1]:4000" in run("show", RUNNING.id, *ADDRESS).stdout


@pytest.mark.parametrize(
    ("view", "command"),
    [(QUEUED, "watch"), (DONE, "result"), (FAILED, "logs"), (replace(DONE, state="cancelled"), "")],
)
def test_what_to_do_next(view: object, command: str, service: FakeService) -> None:
    job = service.add(view)  # type: ignore[arg-type]
    assert f"next: dask-em {command or 'resume'} {job.id}" in run("show", job.id, *ADDRESS).stdout


def test_one_that_failed_tells_all(service: FakeService) -> None:
    service.add(FAILED)
    text = run("show", FAILED.id, *ADDRESS).stdout
    assert "Traceback ...\n  line 3\nDataError: rows with NaN\n" in text
    assert "failed after 4 passes" in text


def test_json(service: FakeService) -> None:
    service.add(RUNNING, passes=PASSES, befell=(LOST,))
    found = json.loads(run("show", RUNNING.id, "--json", *ADDRESS).stdout)
    assert found["state"] == "running"
    assert found["spec"] == {"task": "fit"}
    assert [one["number"] for one in found["trace"]] == [1, 2]
    assert found["marks"][0]["kind"] == "lost"


def test_a_model_or_a_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    (folder / "model").mkdir()
    assert not is_job("model", None)
    assert not is_job("model", "tcp://a:1")
    assert not is_job("s3://bucket/model", "tcp://a:1")
    assert is_job("3f2a91c0", "tcp://a:1")
    assert is_job("nowhere.zarr", "tcp://a:1")
    assert not is_job("3f2a91c0", None)  # no scheduler is known
    monkeypatch.setitem(dask.config.config, "scheduler-address", "tcp://a:1")
    assert is_job("3f2a91c0", None)
    assert not is_job("nowhere.zarr", None)
    assert not is_job("folder/model", None)


def test_neither(folder: Path) -> None:
    stderr = run("show", "3f2a91c0", code=1).stderr
    assert "there is no model at" in stderr
