"""Rows with several axes, in lazy arrays and in stores."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

import dask_em
from dask_em import DataError, GaussianMixture, SchemaError
from tests.estimators.common import (
    CUBE,
    GAPS,
    ROWS,
    WEIGHTS,
    assert_same_bits,
    assert_same_fit,
    fitted,
    given,
)


def test_labels_have_the_shape_of_the_samples() -> None:
    model = fitted(CUBE)
    assert_same_fit(model, fitted(), 1e-10)
    assert model.n_features_in_ == 3
    labels, shares = model.predict(CUBE), model.predict_proba(CUBE)
    assert labels.shape == model.score_samples(CUBE).shape == (12, 6, 5)
    assert shares.shape == (12, 6, 5, 3)
    assert (labels.ravel() == model.predict(ROWS)).all()
    assert_allclose(shares.reshape(-1, 3), model.predict_proba(ROWS), atol=1e-12)
    weights = WEIGHTS.reshape(12, 6, 5)
    assert_same_fit(fitted(CUBE, weights), fitted(ROWS, WEIGHTS), 1e-10)
    assert model.score(CUBE, sample_weight=weights) == pytest.approx(
        model.score(ROWS, None, WEIGHTS)
    )


@pytest.mark.parametrize("order", ["F", "strided", "big-endian", "read-only"])
def test_the_layout_of_memory_means_nothing(order: str) -> None:
    layouts = {
        "F": np.asfortranarray(ROWS),
        "strided": np.repeat(ROWS, 2, axis=0)[::2],
        "big-endian": ROWS.astype(">f8"),
        "read-only": ROWS.copy(),
    }
    rows = layouts[order]
    rows.flags.writeable = False
    assert_same_fit(fitted(rows), fitted(), 1e-12)


def test_masked_values_are_missing() -> None:
    masked = np.ma.MaskedArray(np.where(np.isnan(GAPS), 1e6, GAPS), mask=np.isnan(GAPS))
    for rows in (masked, masked.reshape(12, 6, 5, 3)):
        assert_same_fit(fitted(rows, missing="drop"), fitted(GAPS, missing="drop"), 1e-9)
        with pytest.raises(ValueError, match="NaN"):
            fitted(rows)


def test_names_of_an_earlier_fit_are_forgotten() -> None:
    pandas = pytest.importorskip("pandas")
    model = fitted(pandas.DataFrame(ROWS, columns=["salt", "heat", "depth"]))
    assert not hasattr(model.fit(CUBE), "feature_names_in_")


@pytest.mark.parametrize(
    ("options", "rows"),
    [({}, ROWS[:, :1]), ({"covariance_type": "diag"}, ROWS)],
    ids=["features", "structure"],
)
def test_warm_start_needs_parameters_that_fit(options: dict[str, Any], rows: Any) -> None:
    model = GaussianMixture(3, random_state=0, warm_start=True).fit(ROWS)
    with pytest.raises(ValueError, match="warm_start"):
        model.set_params(**options).fit(rows)


def test_nothing_is_written_into_the_rows() -> None:
    rows = ROWS.copy()
    GaussianMixture(3, random_state=0).fit(rows).predict(rows)
    assert (rows == ROWS).all()


@pytest.mark.parametrize("chunks", [(360, 3), (100, 3), ((1, 0, 59, 300), 3), (90, 2)], ids=str)
def test_dask_arrays_give_the_same_fit_and_lazy_answers(chunks: Any) -> None:
    lazy = da.from_array(ROWS, chunks=chunks)
    model = fitted(lazy)
    assert_same_fit(model, fitted(), 1e-9)
    for method in ("predict", "predict_proba", "score_samples"):
        found = getattr(model, method)(lazy)
        assert isinstance(found, da.Array)
        assert found.chunks[0] == lazy.chunks[0]
        expected = getattr(model, method)(ROWS)
        assert found.dtype == expected.dtype
        assert_allclose(found.compute(), expected, atol=1e-12)
    assert model.score(lazy) == pytest.approx(model.score(ROWS), rel=1e-12)
    assert model.bic(lazy) == pytest.approx(model.bic(ROWS), rel=1e-12)


def test_lazy_answers_keep_the_chunks_of_the_samples() -> None:
    lazy = da.from_array(CUBE, chunks=(5, 6, 2, 3))
    model = fitted(lazy)
    labels = model.predict(lazy)
    assert labels.chunks == ((5, 5, 2), (6,), (2, 2, 1))
    assert (labels.compute() == model.predict(CUBE)).all()
    assert model.predict_proba(lazy).chunks == (*labels.chunks, (3,))


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    read = []

    def block(block_info: Any = None) -> np.ndarray:
        read.append(1)
        return ROWS[:90]

    lazy = da.map_blocks(block, chunks=((90,) * 4, (3,)), dtype=float, meta=np.empty((0, 0)))
    labels = fitted().predict(lazy)
    assert read == []
    labels.compute()
    assert len(read) == 4


def test_random_starts_see_the_same_rows_whatever_the_chunks() -> None:
    # the sample holds every row, in the data's order
    options: dict[str, Any] = {"random_state": 0, "max_iter": 300, "init_params": "k-means++"}
    options["algorithm"] = "em"
    fits = [
        GaussianMixture(3, **options).fit(rows)
        for rows in (ROWS, da.from_array(ROWS, chunks=(70, 3)), CUBE)
    ]
    for other in fits[1:]:
        assert_same_fit(fits[0], other, 1e-9)


def test_the_same_bits_every_time() -> None:
    lazy = da.from_array(ROWS, chunks=(50, 3))
    options: dict[str, Any] = {"random_state": 0, "n_init": 2}
    one = GaussianMixture(3, **options).fit(lazy)
    assert_same_bits(one, GaussianMixture(3, **options).fit(lazy))
    with dask.config.set(scheduler="synchronous"):
        assert_same_bits(one, GaussianMixture(3, **options).fit(lazy))
    with dask.config.set(num_workers=1):
        assert_same_bits(one, GaussianMixture(3, **options).fit(lazy))


def test_lengths_of_chunks_need_not_be_known() -> None:
    # dask-ml issue #390
    lazy = da.from_array(ROWS, chunks=(90, 3))
    some = lazy[lazy[:, 0] > 0]
    model = fitted(some)
    assert_same_fit(model, fitted(ROWS[ROWS[:, 0] > 0]), 1e-9)
    with pytest.raises(SchemaError, match=r"call compute_chunk_sizes\(\) on the array first"):
        model.predict(some)


def test_lazy_weights() -> None:
    lazy = da.from_array(ROWS, chunks=(100, 3))
    weights = da.from_array(WEIGHTS, chunks=100)
    model = fitted(lazy, weights)
    assert_same_fit(model, fitted(ROWS, WEIGHTS), 1e-9)
    expected = model.score(ROWS, sample_weight=WEIGHTS)
    assert model.score(lazy, sample_weight=weights) == pytest.approx(expected, rel=1e-12)


def test_lazy_rows_with_nan() -> None:
    lazy = da.from_array(GAPS, chunks=(100, 3))
    model = fitted(lazy, missing="drop")
    assert_same_fit(model, fitted(GAPS, missing="drop"), 1e-9)
    assert (model.predict(lazy).compute() == model.predict(GAPS)).all()
    with pytest.raises(DataError, match='NaN: 1 of 100 rows of .*pass missing="drop"'):
        fitted(lazy)


def test_zarr_by_path_and_by_object(tmp_path: Path) -> None:
    stored = zarr.create_array(
        tmp_path / "rows.zarr", shape=ROWS.shape, chunks=(100, 3), dtype="f8"
    )
    stored[...] = ROWS
    by_path = fitted(tmp_path / "rows.zarr")
    assert_same_fit(by_path, fitted(), 1e-9)
    assert_same_bits(by_path, fitted(stored))
    assert_same_bits(by_path, fitted(str(tmp_path / "rows.zarr")))
    labels = by_path.predict(tmp_path / "rows.zarr")
    assert isinstance(labels, da.Array)
    assert (labels.compute() == by_path.predict(ROWS)).all()


def test_groups_remember_what_was_selected(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "ocean.zarr")
    for j, name in enumerate(["salt", "heat", "depth"]):
        array = group.create_array(
            name, shape=(60, 6), chunks=(20, 6), dtype="f8", dimension_names=("time", "level")
        )
        array[...] = ROWS[:, j].reshape(60, 6)
    model = GaussianMixture(**given(), algorithm="em").fit(
        tmp_path / "ocean.zarr", features=["salt", "heat", "depth"]
    )
    assert_same_fit(model, fitted(), 1e-9)
    assert list(model.feature_names_in_) == ["salt", "heat", "depth"]
    labels = model.predict(tmp_path / "ocean.zarr")
    assert labels.shape == (60, 6)
    assert (labels.compute().ravel() == fitted().predict(ROWS)).all()
    model.save(tmp_path / "model.zarr")
    again = dask_em.load(tmp_path / "model.zarr")
    assert (again.predict(tmp_path / "ocean.zarr").compute() == labels.compute()).all()
    with pytest.raises(SchemaError, match="select the same ones in the same order"):
        model.predict(tmp_path / "ocean.zarr", features=["heat", "salt", "depth"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_save_and_load_keep_every_bit(tmp_path: Path, dtype: type) -> None:
    model = fitted(GAPS.astype(dtype), missing="drop", random_state=7)
    model.save(tmp_path / "model.zarr")
    again = dask_em.load(tmp_path / "model.zarr")
    assert_same_bits(model, again)
    assert again.means_.dtype == dtype
    assert again.history_ == model.history_
    assert again.outcome_ is model.outcome_
    params, expected = again.get_params(), model.get_params()
    for name in ("weights_init", "means_init", "precisions_init"):
        assert (params.pop(name) == expected.pop(name)).all()
    assert params == expected
    labels = again.predict(GAPS.astype(dtype))
    assert (labels == model.predict(GAPS.astype(dtype))).all()
    assert again.n_features_in_ == 3


def test_a_loaded_model_can_go_on(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fitted(max_iter=2, tol=1e-9, warm_start=True)
        model.save(tmp_path / "model.zarr")
        assert_same_fit(dask_em.load(tmp_path / "model.zarr").fit(ROWS), model.fit(ROWS), 1e-12)
