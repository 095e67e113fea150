"""Stores of which some chunks cannot be read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.testing import assert_allclose

from dask_em import ChunkError, GaussianMixture, InputError
from tests.estimators.common import CUBE, ROWS, fitted

BAD = np.zeros(len(ROWS), bool)
BAD[100:120] = True
SKIPPED = r"1 chunk could not be read.*-1 for a label, NaN otherwise.*predict again"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The rows in chunks of 20, which are read together; chunk 5 is damaged."""
    path = tmp_path / "rows.zarr"
    zarr.create_array(path, data=ROWS, chunks=(20, 3))
    (path / "c" / "5" / "0").write_bytes(b"not zstd")
    return path


def expected(method: str) -> Any:
    answers = getattr(fitted(), method)(ROWS).astype(float)
    answers[BAD] = -1 if method == "predict" else np.nan
    return answers


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples"])
def test_lazy_answers_where_rows_can_be_read(store: Path, method: str) -> None:
    model = fitted(on_bad_chunk="skip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lazy = getattr(model, method)(store)
    with pytest.warns(UserWarning, match=r"1 chunk within \[0:360\] could not be read"):
        assert_allclose(lazy.compute(), expected(method), rtol=1e-9)
    with pytest.raises(ChunkError, match='c/5/0.*pass on_bad_chunk="skip"'):
        getattr(fitted(), method)(store).compute()


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples"])
def test_answers_at_once_where_rows_can_be_read(method: str) -> None:
    array = zarr.create_array(zarr.storage.MemoryStore(), data=ROWS, chunks=(20, 3))
    array.store._store_dict["c/5/0"] = array.store._store_dict["zarr.json"]  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match=SKIPPED) as seen:
        found = getattr(fitted(on_bad_chunk="skip"), method)(array)
    assert [Path(str(warning.filename)).name for warning in seen] == ["test_bad_chunks.py"]
    assert_allclose(found, expected(method), rtol=1e-9)
    with pytest.raises(ChunkError, match="c/5/0"):
        getattr(fitted(), method)(array)


def test_written_answers(store: Path, tmp_path: Path) -> None:
    names = ("class", "probability", "log_likelihood")
    urls = [tmp_path / f"{name}.out" for name in names]
    model, outputs = fitted(), {"probabilities": urls[1], "log_density": urls[2]}
    with pytest.raises(ChunkError, match="c/5/0"):
        model.write_predictions(store, urls[0], **outputs)
    model.on_bad_chunk = "skip"
    with pytest.warns(UserWarning, match=SKIPPED) as seen:
        tally = model.write_predictions(store, urls[0], **outputs)
    assert [Path(str(warning.filename)).name for warning in seen] == ["test_bad_chunks.py"]
    assert (tally.bad_chunks, tally.rows) == (1, len(ROWS) - 20)
    for name, url, method in zip(
        names, urls, ("predict", "predict_proba", "score_samples"), strict=True
    ):
        assert_allclose(zarr.open_array(url, path=name)[:], expected(method), rtol=1e-9)


def test_a_bad_chunk_of_a_cube_costs_its_own_samples(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", data=CUBE, chunks=(4, 3, 5, 3))
    (tmp_path / "x.zarr" / "c" / "1" / "1" / "0" / "0").write_bytes(b"not zstd")
    model = fitted(on_bad_chunk="skip")
    labels = model.predict(CUBE)
    labels[4:8, 3:6] = -1
    with pytest.warns(UserWarning, match=SKIPPED):
        model.write_predictions(tmp_path / "x.zarr", tmp_path / "labels.zarr")
    assert (zarr.open_array(tmp_path / "labels.zarr", path="class")[:] == labels).all()


SCORES: dict[str, Callable[[GaussianMixture, Any], float]] = {
    "score": lambda model, rows: model.score(rows),
    "bic": lambda model, rows: model.bic(rows),
    "aic": lambda model, rows: model.aic(rows),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_of_the_rows_that_can_be_read(store: Path, name: str) -> None:
    with pytest.raises(ChunkError, match="c/5/0"):
        SCORES[name](fitted(), store)
    with pytest.warns(UserWarning, match="1 chunk .*the score knows nothing.*score again"):
        found = SCORES[name](fitted(on_bad_chunk="skip"), store)
    assert found == pytest.approx(SCORES[name](fitted(), ROWS[~BAD]), rel=1e-9)


def test_nothing_is_said_where_all_can_be_read(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "rows.zarr", data=ROWS, chunks=(20, 3))
    model = fitted(on_bad_chunk="skip")
    for score in SCORES.values():
        score(model, tmp_path / "rows.zarr")
    tally = model.write_predictions(tmp_path / "rows.zarr", tmp_path / "labels.zarr")
    assert tally.bad_chunks == 0
    assert (model.predict(tmp_path / "rows.zarr").compute() == fitted().predict(ROWS)).all()


def test_outputs_stay_apart_from_the_rows(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "rows.zarr", data=ROWS, chunks=(20, 3))
    model = fitted()
    # what an earlier call wrote may be replaced, but not while it is read
    model.write_predictions(
        tmp_path / "rows.zarr", tmp_path / "labels.zarr", probabilities=tmp_path / "shares.zarr"
    )
    shares = zarr.open_array(tmp_path / "shares.zarr", path="probability")[:]
    with pytest.raises(InputError, match="the store that rows are read from"):
        model.write_predictions(
            tmp_path / "shares.zarr", f"file://{tmp_path}/shares.zarr", overwrite=True
        )
    assert (zarr.open_array(tmp_path / "shares.zarr", path="probability")[:] == shares).all()
