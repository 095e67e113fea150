"""Specifications of jobs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dask_em import InputError
from dask_em.service import spec
from dask_em.service.spec import Fit, Predict, Sweep, json_schema, parse, text_of, token

FIT: dict[str, Any] = {
    "task": "fit",
    "data": {"url": "s3://bucket/ocean.zarr", "features": ["temperature", "salinity"]},
    "model": {"kind": "gaussian_mixture", "n_components": 8},
    "mapping": [{"step": "log", "features": ["salinity"]}, {"step": "standardize"}],
    "output": "s3://bucket/model.zarr",
}
SWEEP: dict[str, Any] = {
    "task": "sweep",
    "data": {"url": "weather.parquet", "where": "wind < 200"},
    "candidates": {"n_components": [1, 2, 3]},
    "output": "best.zarr",
}
PREDICT: dict[str, Any] = {
    "task": "predict",
    "data": {"url": ["a.parquet", "b.parquet"]},
    "model": "model.zarr",
    "outputs": {"class": "labels", "log_likelihood": "labels"},
    "keys": ["station"],
}


def changed(job: dict[str, Any], path: str, value: Any) -> str:
    """The document with one value changed; None takes it out."""
    told = json.loads(json.dumps(job))
    *parts, last = path.split(".")
    inner = told
    for part in parts:
        inner = inner[int(part)] if part.isdigit() else inner.setdefault(part, {})
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(told)


@pytest.mark.parametrize(("told", "kind"), [(FIT, Fit), (SWEEP, Sweep), (PREDICT, Predict)])
def test_what_is_written_is_read(told: dict[str, Any], kind: type) -> None:
    job = parse(json.dumps(told))
    assert isinstance(job, kind)
    assert parse(job.model_dump_json()) == job
    assert job.model_dump(mode="json", exclude_unset=True) == told


@pytest.mark.parametrize(
    ("told", "path", "value", "words"),
    [
        (FIT, "task", "fitt", "'fitt'.*'fit', 'sweep', 'predict'"),
        (FIT, "task", None, "'task'"),
        (FIT, "data", None, "data is missing"),
        (FIT, "outptu", "x", "outptu is not known; did you mean 'output'"),
        (FIT, "model.n_componets", 3, "model.*n_componets is not known; did you mean 'n_compo"),
        (FIT, "model.n_components", 0, "n_components is 0: .*greater than or equal to 1"),
        (FIT, "model.n_components", "8", "n_components is '8': .*integer"),
        (FIT, "model.kind", "gmm", "'gmm'.*'gaussian_mixture', 'ppca'"),
        (FIT, "model.missing", "model", "missing is 'model': .*'error' or 'drop'"),
        (FIT, "mapping.0.offest", 1.0, "mapping.0.*offest is not known; did you mean 'offset'"),
        (FIT, "data.url", "", "data.url.*at least 1 character"),
        (FIT, "data.featurs", ["a"], "data.featurs is not known; did you mean 'features'"),
        (FIT, "stopping.tol", float("nan"), "stopping.tol is nan: .*finite"),
        (FIT, "stopping.tol", -1.0, "stopping.tol is -1.0"),
        (FIT, "priority", 1000, "priority is 1000.*100"),
        (FIT, "version", 2, "version is 2"),
        (FIT, "stopping.max_iter", 10**30, "max_iter is 10{30}: .*less than or equal to 9007199"),
        (FIT, "model.random_state", -1, "random_state is -1: .*greater than or equal to 0"),
        (FIT, "mapping.0.offset", float("nan"), "offset is nan: .*finite"),
        (FIT, "tags", {"why": "\ud800"}, "no JSON.*surrogates not allowed"),
        (FIT, "priority", "x" * 1000, "priority is 'x{199}[.]{3}: .*integer"),
        (FIT, "owner", "ada\x1b[2J", r"owner is 'ada\\x1b\[2J': .*pattern"),
        (FIT, "tags", {"a": "\x9b2J"}, r"tags.a is '\\x9b2J': .*pattern"),
        (FIT, "tags", {"\r": "b"}, "tags.*pattern"),
        (FIT, "output", "/a\nb", "output is .*pattern"),
        (SWEEP, "candidates.n_components", [], "n_components.*at least 1 item"),
        (FIT, "checkpoint", "", "checkpoint.*at least 1 character"),
        (PREDICT, "data.sample_weight", "w", "data.sample_weight is not known"),
        (PREDICT, "resources.cache", "auto", "resources.cache is not known"),
        (PREDICT, "missing", "dorp", "missing is 'dorp': .*'error', 'drop' or 'model'"),
        (PREDICT, "outputs", {}, "outputs.*at least 1 item"),
        (PREDICT, "outputs", {"label": "x"}, "outputs.*label"),
    ],
)
def test_what_does_not_fit_is_named(
    told: dict[str, Any], path: str, value: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        parse(changed(told, path, value))


def test_all_faults_are_told_at_once() -> None:
    told = json.dumps({**FIT, "priority": 1000, "outptu": "x"})
    with pytest.raises(InputError, match=r"priority is 1000.*; outptu is not known"):
        parse(told)


def test_many_faults_are_not_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body full of them would hold up the scheduler, which looks for near names."""
    looked: list[str] = []
    monkeypatch.setattr(spec, "nearest", lambda name, _: looked.append(name))
    told = json.dumps({**FIT, **{f"x{number}": 1 for number in range(1000)}})
    with pytest.raises(InputError, match=r"x19 is not known; None; and 980 more$"):
        parse(told)
    assert len(looked) == 20


def test_what_lies_too_deep() -> None:
    with pytest.raises(InputError, match="no JSON"):
        parse("[" * 100_000)
    options = json.loads('{"a":' * 500 + "1" + "}" * 500)
    deep = {**FIT, "data": {**FIT["data"], "storage_options": options}}
    assert token(parse(json.dumps(deep))) == token(parse(json.dumps(FIT)))


def test_what_is_no_json() -> None:
    with pytest.raises(InputError, match="no JSON.*give an object such as"):
        parse("{task: fit}")
    with pytest.raises(InputError, match=r"no JSON"):
        parse("[" * 500_000)
    with pytest.raises(InputError, match=r"1,000,0\d\d bytes, the limit is 1,000,000"):
        parse('"' + "x" * 1_000_000 + '"')


def test_of_many_faults_the_first_are_told() -> None:
    told = json.dumps({**FIT, "data": {"url": "/x", "features": [1] * 1000}})
    with pytest.raises(InputError, match="features.19 is 1.*string; and 980 more$"):
        parse(told)


def test_a_token_is_that_of_what_is_given() -> None:
    name = token(parse(json.dumps(FIT)))
    same = {**FIT, "priority": 5, "owner": "me", "tags": {"why": "so"}}
    same["data"] = {**FIT["data"], "storage_options": {"secret": "hush"}}
    assert token(parse(json.dumps(same))) == name
    assert token(parse(json.dumps(dict(reversed(FIT.items()))))) == name
    # a default that is written out
    assert token(parse(changed(FIT, "model.covariance_type", "full"))) == name
    assert token(parse(changed(FIT, "model.covariance_type", "diag"))) != name
    assert token(parse(changed(FIT, "data.url", "s3://bucket/other.zarr"))) != name


def test_text_may_have_a_mark_before_it_and_is_utf_8() -> None:
    assert text_of(b"\xef\xbb\xbf{}") == text_of("\ufeff{}") == text_of(b"{}") == "{}"
    with pytest.raises(InputError, match="no text in UTF-8: .*save it so"):
        text_of("{}".encode("utf-16"))


def test_the_schema_is_published() -> None:
    schema = json_schema()
    assert {"Fit", "Sweep", "Predict", "Data"} <= set(schema["$defs"])
    assert json.loads(json.dumps(schema)) == schema
