"""`dask-em job`: specifications written and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dask_em.service.spec import json_schema, parse, token
from tests.cli.conftest import run
from tests.cli.jobs.test_submit import FIT

INIT_FIT = ["job", "init", "fit", "data.zarr", "-k", 8, "--output", "model.zarr"]


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")


def written(*words: Any) -> dict[str, Any]:
    text = run(*words).stdout
    parse(text)  # it is what a service takes
    return dict(json.loads(text))


def test_a_fit_with_all_its_fields(folder: Path) -> None:
    assert written(*INIT_FIT) == {
        "version": 1,
        "task": "fit",
        "data": {
            "url": f"{folder}/data.zarr",
            "features": None,
            "sample_dims": None,
            "where": None,
            "storage_options": None,
            "sample_weight": None,
        },
        "mapping": [],
        "model": {
            "kind": "gaussian_mixture",
            "n_components": 8,
            "covariance_type": "full",
            "reg_covar": 1e-6,
            "n_init": 1,
            "init_params": "kmeans",
            "random_state": None,
            "degenerate": "repair",
            "missing": "error",
            "init_sample": None,
        },
        "stopping": {"tol": None, "tol_gap": None, "max_iter": None, "algorithm": "auto"},
        "output": f"{folder}/model.zarr",
        "overwrite": False,
        "resources": {"cache": "off", "on_bad_chunk": "raise"},
        "checkpoint": None,
        "priority": 0,
        "owner": "ada",
        "tags": {},
    }


def test_what_people_read_first_comes_first() -> None:
    found = written(*INIT_FIT)
    assert list(found)[:4] == ["version", "task", "data", "mapping"]
    assert list(found["model"])[:2] == ["kind", "n_components"]


def test_options_of_a_fit(folder: Path) -> None:
    words = "--covariance diag --tol 0 --max-iter 7 --seed 3 --standardize --cache 2MB"
    words += " --features a,b --where b<3 --weights w/area.zarr --storage-option anon=true"
    words += " --priority -5 --owner grace --tag season=winter --tag run=2 --on-bad-chunk skip"
    words += " --checkpoint kept"
    found = written("job", "init", "fit", "s3://b/d.pq", "-k", 2, "--output", "m", *words.split())
    assert found["data"] == {
        "url": "s3://b/d.pq",
        "features": ["a", "b"],
        "sample_dims": None,
        "where": "b<3",
        "sample_weight": f"{folder}/w/area.zarr",
        "storage_options": {"anon": True},
    }
    assert found["model"]["covariance_type"] == "diag"
    assert found["model"]["random_state"] == 3
    assert found["stopping"] == {"tol": 0, "tol_gap": None, "max_iter": 7, "algorithm": "auto"}
    assert found["mapping"] == [{"step": "standardize", "features": None}]
    assert found["resources"] == {"cache": 2_000_000, "on_bad_chunk": "skip"}
    assert found["checkpoint"] == f"{folder}/kept"
    assert (found["owner"], found["priority"]) == ("grace", -5)
    assert found["tags"] == {"season": "winter", "run": "2"}


def test_names_of_weights_stay(folder: Path) -> None:
    assert written(*INIT_FIT, "--weights", "area")["data"]["sample_weight"] == "area"
    (folder / "area").mkdir()
    found = written(*INIT_FIT, "--weights", "area")
    assert found["data"]["sample_weight"] == f"{folder}/area"


@pytest.mark.parametrize("q", [3, 0.95, "bic"])
def test_a_ppca(q: object) -> None:
    words = ["job", "init", "fit", "d", "--model", "ppca", "-q", q, "--output", "m"]
    found = written(*words, "--missing", "model")["model"]
    assert (found["kind"], found["n_components"], found["missing"]) == ("ppca", q, "model")
    assert found["rotation"]


def test_a_sweep(folder: Path) -> None:
    words = ["-k", "1:3,8", "--covariance", "tied", "--criterion", "icl", "--seed", 1]
    found = written("job", "init", "sweep", "d", "--output", "best", *words)
    assert found["candidates"]["n_components"] == [1, 2, 3, 8]
    assert found["candidates"]["covariance_type"] == ["tied"]
    assert found["candidates"]["criterion"] == "icl"
    assert found["output"] == f"{folder}/best"
    found = written("job", "init", "sweep", "d", "--checkpoint", "kept")
    assert found["checkpoint"] == f"{folder}/kept"


def test_a_model_that_only_the_service_keeps() -> None:
    assert written("job", "init", "fit", "d", "-k", 3)["output"] is None
    assert written("job", "init", "sweep", "d", "--overwrite")["overwrite"]


def test_a_prediction(folder: Path) -> None:
    words = ["job", "init", "predict", "m.zarr", "s3://b/d.zarr"]
    more = ["--labels", "l.zarr", "--log-density", "s3://b/l", "--keys", "a,b", "--overwrite"]
    found = written(*words, *more)
    assert found["model"] == f"{folder}/m.zarr"
    assert found["outputs"] == {"class": f"{folder}/l.zarr", "log_likelihood": "s3://b/l"}
    assert found["keys"] == ["a", "b"]
    assert found["overwrite"]
    assert (found["missing"], found["resources"]) == (None, {"on_bad_chunk": None})
    policies = ["--missing", "drop", "--on-bad-chunk", "skip", "--checkpoint", "s3://b/kept"]
    found = written(*words, "--labels", "l.zarr", *policies)
    assert (found["missing"], found["resources"]) == ("drop", {"on_bad_chunk": "skip"})
    assert found["checkpoint"] == "s3://b/kept"
    found = written(*words, "--scores", "s", "--filled", "f", "--std", "d", "--probabilities", "p")
    assert list(found["outputs"]) == ["probability", "score", "filled", "deviation"]


def test_to_a_file(folder: Path) -> None:
    text = run(*INIT_FIT, "--out", "job.json").stdout
    assert text == "wrote job.json\nnext: dask-em submit job.json\n"
    assert (folder / "job.json").read_text() == run(*INIT_FIT).stdout
    assert "is there already" in run(*INIT_FIT, "--out", "job.json", code=2).stderr
    assert "cannot be written" in run(*INIT_FIT, "--out", "no/job.json", code=2).stderr


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "d", "--output", "m"],
        ["fit", "d", "-k", 3, "-q", 2, "--output", "m"],
        ["fit", "d", "-k", 3, "--output", "m", "--tag", "winter"],
        ["fit", "d", "-k", 3, "--output", "m", "--owner", "x" * 101],
        ["fit", "d", "-k", 3, "--output", "m", "--priority", 101],
        ["sweep", "d", "-k", "3:1", "--output", "m"],
        ["predict", "m", "d"],
    ],
    ids=lambda words: " ".join(map(str, words))[:40],
)
def test_wrong_usage(words: list[object]) -> None:
    done = run("job", "init", *words, code=2)
    assert done.stderr
    assert not done.stdout


def test_validate(folder: Path) -> None:
    text = json.dumps(FIT)
    (folder / "job.json").write_text(text)
    name = token(parse(text))
    said = run("job", "validate", "job.json").stdout
    assert said == f"ok, a fit with the token {name}\nnext: dask-em submit job.json\n"
    found = json.loads(run("job", "validate", "job.json", "--json").stdout)
    assert found == {"task": "fit", "token": name}


def test_every_fault_is_told(folder: Path) -> None:
    told = {**FIT, "priority": 200, "ouput": "x", "model": {"kind": "ppca"}}
    (folder / "job.json").write_text(json.dumps(told))
    stderr = run("job", "validate", "job.json", code=2).stderr
    for words in ("priority is 200", "did you mean 'output'", "n_components is missing"):
        assert words in stderr


def test_schema() -> None:
    assert json.loads(run("job", "schema").stdout) == json_schema()


@pytest.mark.parametrize(
    "words", [[], ["init"], ["init", "fit"], ["init", "sweep"], ["init", "predict"],
              ["validate"], ["schema"]], ids=" ".join
)  # fmt: skip
def test_help_has_an_example(words: list[str]) -> None:
    text = " ".join(run("job", *words, "--help").stdout.split())
    assert f"Example: dask-em job {' '.join(words)}".strip() in text
