"""`dask-em run`."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import dask_em
from dask_em.cli.jobs.specification import Specification
from dask_em.engine.monitor import Monitor
from dask_em.place import parse_place
from dask_em.service.work import perform
from tests.cli.conftest import finish, run, spawn

SWEEP = ["job", "init", "sweep", "data.zarr", "-k", "2:3", "--covariance", "diag", "--seed", 0]


def specified(*words: Any) -> str:
    run(*words, "--out", "job.json")
    return "job.json"


@pytest.fixture
def job(store: str) -> str:
    """A fit of the store."""
    words = ["-k", 3, "--seed", 0, "--algorithm", "em", "--output", "model.zarr"]
    return specified("job", "init", "fit", store, *words)


class Killed(Monitor):
    """Broken off in the first task."""

    def advance(self) -> None:
        raise KeyboardInterrupt


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_fit(job: str, store: str, folder: Path) -> None:
    done = run("run", job)
    assert "converged after" in done.stdout
    assert f"saved {folder}/model.zarr" in done.stdout
    assert "log-likelihood/row" in done.stderr
    assert "the same command goes on from it" in done.stderr
    assert left(folder) == ["data.zarr", "job.json", "model.zarr"]
    run("fit", store, "-k", 3, "--seed", 0, "--algorithm", "em", "--out", "plain.zarr")
    plain, found = dask_em.load("plain.zarr"), dask_em.load("model.zarr")
    np.testing.assert_array_equal(found.means_, plain.means_)
    assert found.lower_bounds_ == plain.lower_bounds_


def test_json(job: str, folder: Path) -> None:
    found = json.loads(run("run", job, "--json", "--checkpoint", "mine").stdout)
    assert (found["task"], found["model"]) == ("fit", f"{folder}/model.zarr")
    assert found["passes"]
    assert "mine" in left(folder)  # what was named stays


def test_a_checkpoint_that_the_job_names_is_gone_on_from(store: str, folder: Path) -> None:
    words = [store, "-k", 3, "--seed", 0, "--algorithm", "em", "--tol", 0, "--checkpoint", "kept"]
    run("fit", *words, "--max-iter", 3, "--out", "few.zarr")
    job = specified("job", "init", "fit", *words, "--max-iter", 5, "--output", "model.zarr")
    assert json.loads(run("run", job, "--json").stdout)["iterations"] == 5
    (last,) = (folder / "kept").glob("start-0-*")
    assert last.name == "start-0-pass-000005"
    few, found = (dask_em.load(name).lower_bounds_ for name in ("few.zarr", "model.zarr"))
    assert found[:3] == few


def test_a_sweep(store: str, folder: Path) -> None:
    found = json.loads(run("run", specified(*SWEEP, "--output", "best.zarr"), "--json").stdout)
    assert found["task"] == "sweep"
    assert len(dask_em.load("best.zarr").weights_) == 3
    assert left(folder) == ["best.zarr", "data.zarr", "job.json"]


def test_a_prediction(model: str, store: str, folder: Path) -> None:
    words = ["--labels", "labels.zarr", "--log-density", "density.zarr"]
    job = specified("job", "init", "predict", model, store, *words)
    text = run("run", job).stdout
    assert f"class          {folder}/labels.zarr\n" in text
    assert f"log_likelihood {folder}/density.zarr\n" in text
    run("predict", model, store, "--out", "plain.zarr")
    plain = zarr.open_array("plain.zarr", path="class")
    np.testing.assert_array_equal(zarr.open_array("labels.zarr", path="class"), plain)
    assert left(folder) == sorted(
        ["data.zarr", "density.zarr", "job.json", "labels.zarr", "model.zarr", "plain.zarr"]
    )
    Path("job.json").unlink()
    job = specified("job", "init", "predict", model, store, *words, "--overwrite")
    assert list(json.loads(run("run", job, "--json").stdout)["outputs"]) == [
        "class",
        "log_likelihood",
    ]


def test_goes_on_where_it_was_killed(large: str, folder: Path) -> None:
    words = ["-k", 3, "--seed", 0, "--tol", 0, "--max-iter", 12, "--algorithm", "em"]
    job = specified("job", "init", "fit", large, *words, "--output", "model.zarr")
    process = spawn("run", job)
    assert process.stderr is not None
    while not process.stderr.readline().strip().startswith("3 "):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (kept,) = folder.glob("model.zarr.*.checkpoint")
    made = max(int(path.name[-6:]) for path in kept.glob("start-0-*"))
    assert 3 <= made < 12
    before = run("run", job).stderr.splitlines()
    assert not kept.exists()
    assert [line.split()[0] for line in before[-12:]] == [str(one) for one in range(1, 13)]
    run("fit", large, *words, "--out", "plain.zarr")
    plain, found = dask_em.load("plain.zarr"), dask_em.load("model.zarr")
    np.testing.assert_array_equal(found.means_, plain.means_)
    assert found.lower_bounds_ == plain.lower_bounds_


def test_goes_on_where_it_was_killed_though_something_is_at_its_output(
    model: str, store: str, folder: Path
) -> None:
    """As in a bucket, where answers are written in place."""
    output = f"memory:/{folder}/labels.zarr"
    job = specified("job", "init", "predict", model, store, "--labels", output)
    told = Specification.read(job)
    place = parse_place(f"{output}.{told.token}.checkpoint")
    with pytest.raises(KeyboardInterrupt):
        perform(told.job, checkpoint=place, monitor=Killed())
    assert parse_place(output).exists()
    run("run", job)
    labels: Any = zarr.open_array(parse_place(output).store(), path="class", mode="r")
    assert (labels[:] >= 0).all()
    assert not place.exists()
    assert "there is something at the output" in run("run", job, code=1).stderr


def test_on_a_cluster(job: str) -> None:
    words = ["--workers", 1, "--memory", "1GB", "--json"]
    stdout, stderr = finish(spawn("run", job, *words))
    assert json.loads(stdout)["peak_worker_bytes"] > 0
    assert "dashboard http://127.0.0.1:" in stderr


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"output": None}, 2, "job.json: output is missing"),
        ({"output": "m.zarr"}, 2, "output is 'm.zarr', a relative path"),
        ({"ouput": "/m"}, 2, "did you mean 'output'?"),
        ({"data": {"url": "/nowhere.zarr"}}, 1, "/nowhere.zarr does not exist"),
    ],
)
def test_what_cannot_be(
    changes: dict[str, Any], code: int, words: str, job: str, folder: Path
) -> None:
    told = json.loads(Path(job).read_text())
    Path(job).write_text(json.dumps({**told, **changes}))
    done = run("run", job, code=code)
    assert words in done.stderr
    assert not done.stdout
    assert left(folder) == ["data.zarr", "job.json"]


def test_what_is_there_is_not_replaced(job: str, folder: Path) -> None:
    (folder / "model.zarr").mkdir()
    assert "there is something at the output" in run("run", job, code=1).stderr
