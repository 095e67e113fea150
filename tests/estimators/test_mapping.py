"""Estimators of mapped rows: learned once, kept, applied everywhere, undone in answers."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from numpy.testing import assert_allclose, assert_array_equal

import dask_em
from dask_em import (
    PPCA,
    Anomaly,
    Centre,
    DataError,
    GaussianMixture,
    Groups,
    InputError,
    Log,
    RowMask,
    Scale,
    Select,
    Standardize,
)
from dask_em.sources.arrays import NumpySource
from tests.estimators.common import (
    COUNTS,
    CUBE,
    GAPS,
    PRECISIONS,
    ROWS,
    WEIGHTS,
    WHOLE,
    assert_same_bits,
    assert_same_fit,
    given,
)

MEAN, SPREAD = ROWS.mean(axis=0), ROWS.std(axis=0)
SCORED = (ROWS - MEAN) / SPREAD
KEPT = np.random.default_rng(5).random(360) > 0.3
POSITIVE = np.exp(ROWS)


def fitted(rows: Any, mapping: Any = None, weight: Any = None, **options: Any) -> GaussianMixture:
    """From the same start, in whatever units the model sees."""
    start = {"means_init": SCORED[[0, 130, 250]], "precisions_init": PRECISIONS["full"]}
    model = GaussianMixture(**given(**{**start, **options}), algorithm="em")
    return model.fit(rows, sample_weight=weight, mapping=mapping)


def store(path: Path, rows: np.ndarray, names: str = "abc", **options: Any) -> Path:
    group = zarr.open_group(path, mode="w")
    for j, name in enumerate(names):
        array = group.create_array(
            name, shape=rows.shape[:-1], chunks=(rows.shape[0] // 4,) * (rows.ndim - 1), dtype="f8"
        )
        array[...] = rows[..., j]
    return path


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
def test_standardize_is_a_fit_to_standardized_rows(weight: Any) -> None:
    mean = np.average(ROWS, axis=0, weights=weight)
    spread = np.sqrt(np.average((ROWS - mean) ** 2, axis=0, weights=weight))
    model = fitted(ROWS, [Standardize()], weight)
    assert_same_fit(model, fitted((ROWS - mean) / spread, None, weight), 1e-10)
    assert [record.kind for record in model.history_][:2] == ["moments", "em"]
    step = model.mapping_.steps[0]
    assert_allclose(step.means, mean, rtol=1e-13)
    assert_allclose(step.scales, spread, rtol=1e-12)
    assert model.n_iter_ == len(model.history_) - 1


def test_an_affine_change_leaves_responsibilities() -> None:
    start = SCORED[[0, 130, 250]]
    plain = GaussianMixture(
        3,
        weights_init=np.ones(3) / 3,
        means_init=start * SPREAD + MEAN,
        precisions_init=np.stack([np.diag(SPREAD**-2.0)] * 3),
        reg_covar=0.0,
        tol=1e-10,
        max_iter=40,
    )
    scored = GaussianMixture(
        3,
        weights_init=np.ones(3) / 3,
        means_init=start,
        precisions_init=PRECISIONS["full"],
        reg_covar=0.0,
        tol=1e-10,
        max_iter=40,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.fit(ROWS)
        scored.fit(ROWS, mapping=[Standardize()])
    assert_allclose(scored.predict_proba(ROWS), plain.predict_proba(ROWS), atol=1e-9)
    assert_allclose(scored.means_ * SPREAD + MEAN, plain.means_, atol=1e-8)
    shift = np.log(SPREAD).sum()
    assert scored.score(ROWS) - shift == pytest.approx(plain.score(ROWS), abs=1e-9)


@pytest.mark.parametrize("missing", ["drop", "error"])
def test_gaps_are_left_out_of_means(missing: str) -> None:
    if missing == "error":
        with pytest.raises(DataError, match=r"Input X contains NaN: 4 of 360 rows"):
            fitted(GAPS, [Standardize()])
        return
    model = fitted(GAPS, [Standardize()], missing="drop")
    assert_allclose(model.mapping_.steps[0].means, GAPS[WHOLE].mean(axis=0), rtol=1e-12)
    labels = model.predict(GAPS)
    assert ((labels == -1) == ~WHOLE).all()


def test_float32() -> None:
    rows = ROWS.astype("f4") + np.float32(1000)
    model = fitted(rows, [Standardize()])
    assert model.means_.dtype == np.float32
    exact = fitted(rows.astype("f8"), [Standardize()])
    assert_allclose(model.means_, exact.means_, atol=1e-5)
    assert_allclose(model.mapping_.steps[0].scales, rows.astype("f8").std(axis=0), rtol=1e-12)


def test_every_question_maps_rows(tmp_path: Path) -> None:
    mapping = [Log(["b"]), Select(["b", "a"]), Standardize(["a"])]
    data = store(tmp_path / "data.zarr", POSITIVE)
    features = {"features": ["a", "b", "c"]}
    options: dict[str, Any] = {"algorithm": "em", "random_state": 0}
    model = GaussianMixture(2, **options).fit(data, mapping=mapping, **features)
    a = POSITIVE[:, 0]
    rows = np.stack([ROWS[:, 1], (a - a.mean()) / a.std()], axis=1)
    plain = GaussianMixture(2, **options).fit(rows)
    assert_allclose(model.means_, plain.means_, atol=1e-8)
    for method in ("predict", "predict_proba", "score_samples"):
        found, expected = getattr(model, method)(data).compute(), getattr(plain, method)(rows)
        assert_allclose(found, expected, atol=1e-8)
        # the names of the fit tell what the columns of other containers are
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            found = getattr(model, method)(POSITIVE)
        assert_allclose(found, expected, atol=1e-8)
    for method in ("score", "bic", "aic"):
        found, expected = getattr(model, method)(data), getattr(plain, method)(rows)
        assert found == pytest.approx(expected, abs=1e-6)
    model.write_predictions(data, tmp_path / "labels.zarr")
    written = zarr.open_group(tmp_path / "labels.zarr")["class"]
    assert_array_equal(np.asarray(written[...]), plain.predict(rows))
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert model.feature_names_ == ("b", "a")
    assert model.n_features_in_ == 3
    with pytest.raises(dask_em.SourceError, match="exists"):
        model.write_predictions(data, tmp_path / "labels.zarr")
    with pytest.raises(InputError, match="the store that rows are read from"):
        model.write_predictions(data, tmp_path / "data.zarr" / "inside", overwrite=True)


def test_saved_models_are_complete(tmp_path: Path) -> None:
    mapping = [Log(["b"], 0.5), Standardize(), Scale({"a": 3.0}), Centre({"c": 1.0})]
    data, other = (
        store(tmp_path / f"{n}.zarr", rows) for n, rows in ((1, POSITIVE), (2, ROWS + 9))
    )
    features = ["a", "b", "c"]
    model = GaussianMixture(2, random_state=0).fit(data, features=features, mapping=mapping)
    model.save(tmp_path / "model.zarr")
    again = dask_em.load(tmp_path / "model.zarr")
    assert again.mapping_.equals(model.mapping_)
    assert again.history_ == model.history_
    assert_array_equal(again.predict_proba(other).compute(), model.predict_proba(other).compute())
    plain = GaussianMixture(2, random_state=0).fit(ROWS)
    plain.save(tmp_path / "plain.zarr")
    assert dask_em.load(tmp_path / "plain.zarr").mapping_ is None


@pytest.mark.parametrize(
    "step",
    [
        Standardize(),
        Log([0], offset=100.0),
        Select([2, 0]),
        Anomaly(np.ones(3), by=None),
    ],
    ids=lambda step: type(step).__name__,
)
def test_saved_models_are_read_where_no_step_was_imported(step: Any, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    GaussianMixture(1).fit(rows, mapping=[step]).save(tmp_path / "m.zarr")
    code = f"import dask_em; print(*dask_em.load({str(tmp_path / 'm.zarr')!r}).mapping_)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert type(step).__name__ in done.stdout, done.stderr


@pytest.mark.parametrize("lazy", [False, True])
def test_filled_values_are_in_units_of_the_data(lazy: bool) -> None:
    cube = np.exp(CUBE)
    cube[3, 2, 1, 0] = cube[5, 5, 4, 1] = cube[1, 1, 1, 2] = np.nan
    data = da.from_array(cube, chunks=(5, 6, 2, 3)) if lazy else cube
    mapping = [Log([0]), Standardize(), Select([1, 0])]
    options: dict[str, Any] = {"missing": "model", "random_state": 0, "tol": 1e-10}
    model = PPCA(1, **options).fit(data, mapping=mapping)
    filled = np.asarray(model.fill(data))
    assert filled.shape == cube.shape
    assert_array_equal(filled[~np.isnan(cube)], cube[~np.isnan(cube)])  # to the bit
    assert_array_equal(np.argwhere(np.isnan(filled)), [[1, 1, 1, 2]])
    by_hand = cube.reshape(-1, 3).copy()
    by_hand[:, 0] = np.log(by_hand[:, 0])
    mean, spread = np.nanmean(by_hand, axis=0), np.nanstd(by_hand, axis=0)
    by_hand = ((by_hand - mean) / spread)[:, [1, 0]]
    plain = PPCA(1, **options).fit(by_hand)
    there = plain.fill(by_hand)[:, [1, 0]] * spread[:2] + mean[:2]
    there[:, 0] = np.exp(there[:, 0])
    assert_allclose(filled.reshape(-1, 3)[:, :2], there, rtol=1e-4)
    with pytest.raises(InputError, match="without return_std"):
        np.asarray(model.fill(data, return_std=True)[1])


def test_deviations_are_in_units_of_the_data() -> None:
    rows = GAPS * [1, 10, 100]
    model = PPCA(1, missing="model", random_state=0).fit(rows, mapping=[Standardize()])
    _, deviation = model.fill(rows, return_std=True)
    plain = PPCA(1, missing="model", random_state=0)
    scales = np.nanstd(rows, axis=0)
    scored = (rows - np.nanmean(rows, axis=0)) / scales
    _, expected = plain.fit(scored).fill(scored, return_std=True)
    assert_allclose(deviation, expected * scales, rtol=1e-4)
    assert (deviation[np.isnan(rows)] > 0).all()


def test_filled_stores_and_what_is_left_out(tmp_path: Path) -> None:
    rows = np.exp(GAPS)
    rows[7, 2] = -1.0  # has no logarithm, but something is known of it
    data = store(tmp_path / "data.zarr", rows)
    mask = RowMask(KEPT)
    mapping = [mask, Select(["c", "a"]), Log(["c"]), Standardize()]
    model = PPCA(1, missing="model", random_state=0)
    model.fit(data, features=["a", "b", "c"], mapping=mapping)
    model.write_filled(data, tmp_path / "filled.zarr", mapping=mask)
    filled = zarr.open_group(tmp_path / "filled.zarr")["filled"][...]
    assert filled.shape == (360, 3)
    assert_array_equal(np.isnan(filled).all(axis=1), ~KEPT)
    seen = ~np.isnan(rows) & KEPT[:, None]
    seen[7, 2] = False
    assert_array_equal(filled[seen], rows[seen])
    assert not KEPT[7] or filled[7, 2] > 0
    assert_array_equal(filled, np.asarray(model.fill(data, mapping=mask)))


def test_inverse_transform_leads_to_the_data() -> None:
    rows = np.exp(ROWS)
    model = PPCA(2, random_state=0).fit(rows, mapping=[Log([0, 1, 2]), Standardize()])
    scores = model.transform(rows)
    back = model.inverse_transform(scores)
    assert np.corrcoef(np.log(back[:, 0]), ROWS[:, 0])[0, 1] > 0.7
    expected = np.exp((scores @ model.loadings_.T + model.mean_) * SPREAD + MEAN)
    assert_allclose(back, expected, rtol=1e-9)
    assert_allclose(model.inverse_transform(da.from_array(scores, chunks=(99, 1))), back)


@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_masked_rows_do_not_count(kind: str) -> None:
    rows = ROWS if kind == "numpy" else da.from_array(ROWS, chunks=(100, 3))
    mask = RowMask(KEPT)
    model = fitted(rows, [mask, Standardize()])
    assert_same_fit(model, fitted(ROWS[KEPT], [Standardize()]), 1e-9)
    assert len(model.mapping_) == 1
    assert {record.rows for record in model.history_} == {int(KEPT.sum())}
    assert {record.dropped for record in model.history_} == {0}
    everywhere = np.asarray(model.predict(rows))
    assert (everywhere >= 0).all()
    labels = np.asarray(model.predict(rows, mapping=[mask]))
    assert_array_equal(labels, np.where(KEPT, everywhere, -1))
    shares = np.asarray(model.predict_proba(rows, mapping=[mask]))
    assert_array_equal(np.isnan(shares).all(axis=1), ~KEPT)
    assert model.score(rows, mapping=[mask]) == pytest.approx(model.score(ROWS[KEPT]))
    assert model.bic(rows, mapping=[mask]) == pytest.approx(model.bic(ROWS[KEPT]))
    again = GaussianMixture(2, random_state=0)
    assert (np.asarray(again.fit_predict(rows, mapping=[mask])) == -1).sum() == (~KEPT).sum()
    assert np.isnan(np.asarray(PPCA(1).fit_transform(rows, mapping=mask))[~KEPT]).all()


def test_masked_rows_may_hold_anything() -> None:
    rows = ROWS.copy()
    rows[~KEPT] = np.nan
    rows[np.flatnonzero(~KEPT)[0]] = np.inf
    mask = RowMask(KEPT)
    model = fitted(rows, [mask])
    assert_same_fit(model, fitted(ROWS[KEPT]), 1e-9)
    assert_array_equal(model.predict(rows, mapping=[mask]) == -1, ~KEPT)
    counted = fitted(rows, [mask], COUNTS)  # some are 0
    assert_same_fit(counted, fitted(ROWS[KEPT], None, COUNTS[KEPT]), 1e-9)
    gaps = np.where(np.isnan(GAPS), np.nan, rows)
    dropped = fitted(gaps, [mask], missing="drop")
    assert_array_equal(dropped.predict(gaps, mapping=[mask]) == -1, ~KEPT | ~WHOLE)
    assert dropped.history_[-1].dropped == (KEPT & ~WHOLE).sum()


def test_only_what_belongs_to_rows_is_given_again() -> None:
    model = fitted(ROWS, [Standardize()])
    with pytest.raises(InputError, match="mapping has Scale, but the model maps rows as it was"):
        model.predict(ROWS, mapping=[Scale(2.0)])


def test_anomalies_of_other_samples() -> None:
    normals = np.random.default_rng(0).normal(size=(2, 3))
    halves = np.arange(360) % 2
    anomaly = Anomaly(normals, by="groups")
    model = fitted(ROWS, [Groups(halves), anomaly, Standardize()])
    difference = ROWS - normals[halves]
    expected = (difference - difference.mean(axis=0)) / difference.std(axis=0)
    assert_same_fit(model, fitted(expected), 1e-9)
    found = model.predict(ROWS[:7], mapping=[Groups(halves[:7])])
    assert_array_equal(found, fitted(expected).predict(expected[:7]))
    with pytest.raises(dask_em.SchemaError, match=r"give Groups\(index\)"):
        model.predict(ROWS[:7])
    latent = PPCA(1).fit(ROWS, mapping=[Groups(halves), anomaly])
    assert_allclose(latent.fill(ROWS, mapping=[Groups(halves)]), ROWS, rtol=1e-12)
    with pytest.raises(InputError, match="when and where rows lie"):
        latent.inverse_transform(np.zeros((2, 1)))


def test_logarithms_of_what_has_none() -> None:
    rows = POSITIVE.copy()
    rows[[3, 9], 1] = [0, -1]
    said = r"2 of 360 rows of rows \[0:360\] of the array \(Log has no value for 2 of 1, which are"
    with pytest.raises(DataError, match=said):
        fitted(rows, [Log([1])])
    model = fitted(rows, [Log([1])], missing="drop")
    assert model.history_[-1].dropped == 2
    assert_array_equal(np.flatnonzero(model.predict(rows) == -1), [3, 9])
    latent = PPCA(1, missing="model").fit(rows, mapping=[Log([1])])
    assert latent.history_[-1].incomplete == 2


def test_warnings_point_to_who_called() -> None:
    rows = np.c_[ROWS[:, 0], np.ones(len(ROWS))]
    with pytest.warns(UserWarning, match="are constant") as found:
        GaussianMixture(1).fit(rows, mapping=[Standardize()])
    assert {one.filename for one in found} == {__file__}


def test_functions_take_it_as_well() -> None:
    mapping = [Standardize(), Select([1, 0])]
    found = dask_em.sweep(ROWS, [2, 3], mapping=mapping, random_state=0, covariance_type="diag")
    plain = dask_em.sweep(SCORED[:, [1, 0]], [2, 3], random_state=0, covariance_type="diag")
    assert found.best_candidate.bic == pytest.approx(plain.best_candidate.bic, rel=1e-9)
    assert_array_equal(found.best.predict(ROWS), plain.best.predict(SCORED[:, [1, 0]]))
    assert next(record.kind for record in found.history) == "moments"
    promise = dask_em.plan(ROWS, GaussianMixture(2), mapping=mapping, probe=False)
    without = dask_em.plan(ROWS, GaussianMixture(2), probe=False)
    assert promise.n_features == 2
    assert promise.n_passes[0] == without.n_passes[0] + 1
    dask_em.plan(ROWS, GaussianMixture(2), mapping=mapping)
    model = dask_em.Mixture(dask_em.Gaussian(dask_em.Full()), 2, plain.best._model.start)
    result = dask_em.fit(model, ROWS, mapping=mapping, rng=np.random.default_rng(0))
    assert result.mapping is not None
    assert result.history[0].kind == "moments"
    again = dask_em.open_source(ROWS, mapping=result.mapping)
    rows = again.partition(range(1)).open()(0).block.values
    assert_allclose(rows, SCORED[:, [1, 0]], atol=1e-12)


def test_a_fit_forgets_the_mapping_of_the_one_before() -> None:
    model = fitted(ROWS, [Standardize()])
    assert model.fit(ROWS).mapping_ is None
    assert_same_bits(model, fitted(ROWS))


def test_sources_are_mapped_too() -> None:
    assert_same_bits(fitted(NumpySource(ROWS), [Standardize()]), fitted(ROWS, [Standardize()]))
