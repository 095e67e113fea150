"""PPCA of stores and dask arrays: the same bits, lazy answers, written ones, archives, plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray
import zarr
from distributed import Client, LocalCluster
from numpy.testing import assert_allclose, assert_array_equal

import dask_em
from dask_em import PPCA
from tests.engine.sources import MadeSource

RNG = np.random.default_rng(4)
ROWS = RNG.normal(size=(6400, 2)) @ RNG.normal(size=(2, 6)) + 0.4 * RNG.normal(size=(6400, 6)) + 3
GAPS = np.where(RNG.random(ROWS.shape) < 0.2, np.nan, ROWS)
CUBE = GAPS.reshape(16, 20, 20, 6)
METHODS = ("transform", "score_samples", "fill")


def estimator(missing: str, **options: Any) -> PPCA:
    return PPCA(2, missing=missing, random_state=0, **options)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "rows.zarr"
    made = zarr.create_array(path, shape=CUBE.shape, chunks=(4, 10, 20, 6), dtype=CUBE.dtype)
    made[:] = CUBE
    return path


def lazy_twin(store: Path) -> Any:
    """A dask array in the chunks in which the store is read."""
    chunks = dask_em.open_source(store).schema.sample_chunks
    return da.from_array(CUBE, (*chunks, 6))


@pytest.mark.parametrize("missing", ["model", "drop"])
@pytest.mark.parametrize("n_tasks", [1, 2, 16])
def test_any_number_of_tasks_gives_the_same_bits(
    missing: str, n_tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = estimator(missing).fit(MadeSource(GAPS, 50))._parameters
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: n_tasks)
    assert estimator(missing).fit(MadeSource(GAPS, 50))._parameters.equals(expected)


def test_any_number_of_workers_gives_the_same_bits() -> None:
    expected = {one: estimator(one).fit(MadeSource(GAPS, 50)) for one in ("model", "drop")}
    for n_workers in (1, 2, 3):
        with (
            LocalCluster(
                n_workers=n_workers, threads_per_worker=1, host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
            ) as cluster,
            Client(cluster) as client,
        ):  # fmt: skip
            for missing, one in expected.items():
                found = estimator(missing).fit(MadeSource(GAPS, 50), client=client)
                assert found._parameters.equals(one._parameters), (n_workers, missing)


@pytest.mark.parametrize("missing", ["model", "drop"])
def test_stores_and_dask_arrays_give_the_same_bits(store: Path, missing: str) -> None:
    one, other = estimator(missing).fit(store), estimator(missing).fit(lazy_twin(store))
    assert one._parameters.equals(other._parameters)
    here = estimator(missing, tol=1e-10).fit(CUBE)
    assert_allclose(one.get_covariance(), here.get_covariance(), rtol=1e-3)


def test_answers_are_lazy_and_keep_the_chunks(store: Path) -> None:
    found = estimator("model").fit(CUBE)
    lazy = da.from_array(CUBE, (4, 10, 20, 6))
    for method, trailing in (("transform", (2,)), ("score_samples", ()), ("fill", (6,))):
        answers = getattr(found, method)(lazy)
        assert isinstance(answers, da.Array)
        assert answers.chunks[:3] == lazy.chunks[:3]
        assert answers.shape == (16, 20, 20, *trailing)
        here = getattr(found, method)(CUBE)
        assert_allclose(answers.compute(scheduler="sync"), here, rtol=1e-12, atol=1e-12)
        stored = getattr(found, method)(store)
        assert_allclose(stored.compute(scheduler="sync"), here, rtol=1e-12, atol=1e-12)
    scores, covariances = found.transform(lazy, return_cov=True)
    assert covariances.shape == (16, 20, 20, 2, 2)
    assert covariances.chunks[:3] == scores.chunks[:3]
    expected = found.transform(CUBE, return_cov=True)[1]
    assert_allclose(covariances.compute(scheduler="sync"), expected, atol=1e-12)
    back = found.inverse_transform(scores)
    assert isinstance(back, da.Array)
    assert_allclose(back, found.inverse_transform(found.transform(CUBE)), atol=1e-9)


def test_answers_are_written_in_one_reading(store: Path, tmp_path: Path) -> None:
    found = estimator("model").fit(store)
    paths = [tmp_path / name for name in ("s.zarr", "l.zarr", "f.zarr", "d.zarr")]
    tally = found.write_scores(store, paths[0], log_density=paths[1])
    assert tally.nbytes == CUBE.nbytes
    assert found.write_filled(store, paths[2], deviation=paths[3]).nbytes == CUBE.nbytes
    written = [xarray.open_zarr(path) for path in paths]
    filled, spread = found.fill(CUBE, return_std=True)
    assert_allclose(written[0].score, found.transform(CUBE), atol=1e-12)
    assert_allclose(written[1].log_likelihood, found.score_samples(CUBE))
    assert_allclose(written[2].filled, filled)
    assert_allclose(written[3].deviation, spread)
    assert written[0].score.dims[-1] == "component"
    assert written[2].filled.dims[-1] == "feature"
    with pytest.raises(OSError, match="overwrite"):
        found.write_scores(store, paths[0])
    found.write_scores(store, paths[0], overwrite=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_save_and_load_keep_every_bit(tmp_path: Path, dtype: Any) -> None:
    rows = GAPS.astype(dtype)
    found = estimator("model", tol=1e-5, rotation=False).fit(rows)
    found.save(tmp_path / "model")
    again = dask_em.load(tmp_path / "model")
    assert type(again) is PPCA
    assert again.get_params() == found.get_params()
    assert again._parameters.equals(found._parameters)
    for name in vars(found):
        if name.endswith("_"):
            assert_array_equal(getattr(again, name), getattr(found, name), err_msg=name)
            assert type(getattr(again, name)) is type(getattr(found, name)), name
    for method in METHODS:
        assert_array_equal(getattr(again, method)(rows), getattr(found, method)(rows))
    with pytest.raises(dask_em.ArchiveError):
        found.save(tmp_path / "model")


def test_what_was_selected_is_remembered(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "fields.zarr")
    for i, name in enumerate("uvw"):
        group.create_array(name, data=ROWS[:, i].copy(), dimension_names=["time"])
    found = PPCA(1).fit(tmp_path / "fields.zarr", features=["u", "w"])
    assert list(found.feature_names_in_) == ["u", "w"]
    found.save(tmp_path / "model")
    again = dask_em.load(tmp_path / "model")
    fields = tmp_path / "fields.zarr"
    assert_array_equal(again.transform(fields), found.transform(fields))
    group["w"][:] = np.nan
    with pytest.raises(dask_em.DataError, match="1 of 2 features .* never observed: w; leave"):
        PPCA(1, missing="model").fit(tmp_path / "fields.zarr", features=["u", "w"])


def test_plans_say_how_many_passes(store: Path) -> None:
    closed = dask_em.plan(store, PPCA(2, missing="drop"))
    assert (closed.algorithm, closed.n_passes) == ("closed", (1, 2))
    assert closed.seconds is not None
    gaps = dask_em.plan(store, PPCA(2, missing="model", max_iter=20))
    assert (gaps.algorithm, gaps.n_passes) == ("extrapolated", (3, 21))
    assert gaps.seconds is not None
    assert dask_em.plan(store, PPCA(2, algorithm="em"), probe=False).algorithm == "em"
    with pytest.raises(dask_em.InputError, match="n_components=6 latent"):
        dask_em.plan(store, PPCA(6))


@pytest.mark.parametrize("probe", [True, False])
def test_plans_refuse_a_scatter_that_does_not_fit(client: Client, probe: bool) -> None:
    rows = da.zeros((64, 6000), chunks=(8, 6000))
    refused = 'the model\'s sums .* GB, but .* of its 1.07 GB .*, or pass solver="em"'
    with pytest.raises(dask_em.PlanError, match=refused):
        dask_em.plan(rows, PPCA(2, solver="gram"), client=client, probe=probe)
    with pytest.raises(dask_em.PlanError, match=refused):
        PPCA(2, solver="gram").fit(rows, client=client)
    # products with a few directions do; so do few features
    dask_em.plan(rows, PPCA(2), client=client, probe=probe)
    dask_em.plan(rows[:, :60].rechunk(), PPCA(2), client=client, probe=False)


def test_chunks_that_cannot_be_read_have_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "rows.zarr"
    made = zarr.create_array(path, shape=(6400, 6), chunks=(800, 6), dtype="f8", compressors=None)
    made[:] = GAPS
    (path / "c" / "2" / "0").write_bytes(b"broken")
    with pytest.raises(dask_em.ChunkError):
        estimator("model").fit(path)
    with pytest.warns(UserWarning, match="1 chunk could not be read") as told:
        found = estimator("model", on_bad_chunk="skip").fit(path)
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="have no answer"):
        scores = found.transform(path).compute(scheduler="sync")
    assert np.isnan(scores[1600:2400]).all()
    assert np.isfinite(np.delete(scores, slice(1600, 2400), axis=0)).all()
    with pytest.warns(UserWarning, match="1 chunk could not be read") as told:
        tally = found.write_filled(path, tmp_path / "filled.zarr")
    assert told[0].filename == __file__
    assert tally.bad_chunks == 1
    filled = xarray.open_zarr(tmp_path / "filled.zarr").filled.values
    assert_array_equal(np.isnan(filled).any(axis=1), np.isnan(scores).any(axis=1))


def test_nothing_to_write_is_not_read() -> None:
    found = PPCA(2).fit(ROWS)
    with pytest.raises(dask_em.InputError, match="every URL is None.* score, log_likelihood"):
        found.write_scores(ROWS, None)


def test_lengths_of_chunks_need_not_be_known() -> None:
    rows = da.from_array(ROWS, (800, 6))
    rows = rows[rows[:, 0] > -1e9]
    found = PPCA(2).fit(rows)
    assert_allclose(found.get_covariance(), PPCA(2).fit(ROWS).get_covariance(), rtol=1e-9)
    with pytest.raises(dask_em.SchemaError, match="no known lengths"):
        found.transform(rows)


def test_lazy_weights() -> None:
    weights = RNG.integers(0, 3, 6400)
    lazy = da.from_array(ROWS, (800, 6)), da.from_array(weights, 800)
    found = PPCA(2).fit(lazy[0], sample_weight=lazy[1])
    here = PPCA(2).fit(np.repeat(ROWS, weights, axis=0))
    assert_allclose(found.get_covariance(), here.get_covariance(), rtol=1e-9)
