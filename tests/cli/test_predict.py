"""`dask-em predict`, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

import dask_em
from tests.cli.conftest import run


def test_labels(store: str, model: str) -> None:
    text = run("predict", model, store, "--out", "labels.zarr").stdout
    assert "12 k rows" in text
    labels = zarr.open_array("labels.zarr", path="class")
    assert labels.shape == (40, 300)
    expected = dask_em.load(model).predict(zarr.open_array(store)[:])
    np.testing.assert_array_equal(labels[:], expected)


def test_probabilities_and_densities_in_the_same_pass(store: str, model: str) -> None:
    outputs = ["--probabilities", "p.zarr", "--log-density", "d.zarr"]
    found = json.loads(run("predict", model, store, "--out", "l.zarr", *outputs, "--json").stdout)
    assert found["bytes_read"] == 12_000 * 3 * 8
    probabilities = xarray.open_zarr("p.zarr").probability
    labels = xarray.open_zarr("l.zarr")["class"]
    np.testing.assert_array_equal(probabilities.argmax("component"), labels)
    values = zarr.open_array(store)[:].reshape(-1, 3)
    densities = dask_em.load(model).score_samples(values).reshape(40, 300)
    np.testing.assert_allclose(xarray.open_zarr("d.zarr").log_likelihood, densities)


def test_features_are_remembered(fields: str) -> None:
    run("fit", fields, "-k", 2, "--out", "m.zarr", "--features", "u,v", "--missing", "drop")
    run("predict", "m.zarr", fields, "--out", "labels.zarr")
    labels = zarr.open_array("labels.zarr", path="class")[:]
    assert (labels[2] == -1).all()
    assert (labels[:2] >= 0).all()


def test_missing_values_may_be_refused(fields: str) -> None:
    run("fit", fields, "-k", 2, "--out", "m.zarr", "--features", "u,v", "--missing", "drop")
    words = ["predict", "m.zarr", fields, "--out", "labels.zarr", "--missing", "error"]
    assert "contains NaN" in run(*words, code=1).stderr
    assert not Path("labels.zarr").exists()
    assert not list(Path().glob(".labels*"))


def test_existing_output(store: str, model: str) -> None:
    words = ["predict", model, store, "--out", "labels.zarr"]
    run(*words)
    assert "pass --overwrite" in run(*words, code=1).stderr
    run(*words, "--overwrite")


def test_data_are_never_overwritten(store: str, model: str) -> None:
    stderr = run("predict", model, store, "--out", store, "--overwrite", code=1).stderr
    assert "was not written by dask_em" in stderr
    stderr = run("predict", model, store, "--out", model, "--overwrite", code=1).stderr
    assert "was not written by dask_em" in stderr


def test_other_features(fields: str, model: str) -> None:
    stderr = run(
        "predict", model, fields, "--features", "u,v", "--out", "labels.zarr", code=1
    ).stderr
    assert "2 features" in stderr


def test_no_model(store: str) -> None:
    stderr = run("predict", "nowhere.zarr", store, "--out", "labels.zarr", code=1).stderr
    assert "there is no model at" in stderr


def damage(store: str) -> None:
    Path(store, "c", "3", "0", "0").write_bytes(b"not zstd")


def test_unreadable_chunks_may_be_skipped(store: str, model: str) -> None:
    damage(store)
    words = ["predict", model, store, "--out", "labels.zarr"]
    assert "pass --on-bad-chunk skip" in run(*words, code=1).stderr
    assert not Path("labels.zarr").exists()
    result = run(*words, "--on-bad-chunk", "skip", "--json")
    found = json.loads(result.stdout)
    assert (found["bad_chunks"], found["rows"]) == (1, 39 * 300)
    assert "warning: 1 chunk could not be read" in result.stderr
    labels = zarr.open_array("labels.zarr", path="class")[:]
    assert (labels[3] == -1).all()
    assert (np.delete(labels, 3, axis=0) >= 0).all()
    text = run(*words, "--on-bad-chunk", "skip", "--overwrite").stdout
    assert "; 1 unreadable chunk skipped" in text


def test_the_policy_on_unreadable_chunks_is_that_of_the_fit(store: str) -> None:
    damage(store)
    run("fit", store, "-k", 3, "--out", "m.zarr", "--on-bad-chunk", "skip")
    run("predict", "m.zarr", store, "--out", "labels.zarr")
    words = ["predict", "m.zarr", store, "--out", "other.zarr", "--on-bad-chunk", "raise"]
    assert "cannot be decoded" in run(*words, code=1).stderr


@pytest.mark.parametrize("other", ["./l.zarr", "file://{here}/l.zarr", "l.zarr/p"])
def test_one_place_for_two_outputs(store: str, model: str, other: str) -> None:
    other = other.format(here=Path.cwd())
    words = ["predict", model, store, "--out", "l.zarr", "--probabilities", other]
    assert "give each a store of its own" in run(*words, code=1).stderr
    assert not Path("l.zarr").exists()


def test_output_inside_the_data(store: str, model: str) -> None:
    words = ["predict", model, store, "--out", f"{store}/labels.zarr"]
    assert "choose a path apart from it" in run(*words, code=1).stderr
    assert not Path(store, "labels.zarr").exists()


@pytest.mark.parametrize("again", [[], ["--overwrite"]])
def test_the_same_command_goes_on(
    store: str, model: str, monkeypatch: pytest.MonkeyPatch, again: list[str]
) -> None:
    from dask_em.engine.done import Done

    run("predict", model, store, "--out", "plain.zarr")
    words = ["predict", model, store, "--out", "labels.zarr", "--checkpoint", "ck", *again]
    with monkeypatch.context() as broken:

        def refuse(*_: object) -> None:
            raise dask_em.ClusterError("the scheduler was lost (scripted)")

        broken.setattr(Done, "keep", refuse)
        text = run(*words, code=1).stderr
    assert "what is written is kept in" in text
    assert "the same command goes on from it" in text
    assert "scripted" in text
    assert len(list(Path().glob(".labels.zarr.*.draft"))) == 1
    for _ in range(2):  # the second finds it done
        assert "12 k rows" in run(*words).stdout
    np.testing.assert_array_equal(
        zarr.open_array("labels.zarr", path="class")[:],
        zarr.open_array("plain.zarr", path="class")[:],
    )
    assert not list(Path().glob(".labels*"))
    other = ["predict", model, store, "--out", "others.zarr", "--checkpoint", "ck"]
    text = " ".join(run(*other, code=1).stderr.split())
    assert "is that of another prediction: place of class is" in text
