"""PPCA of more features than a scatter of all pairs has room for."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from scipy.stats import multivariate_normal
from threadpoolctl import threadpool_info, threadpool_limits

import dask_em
from dask_em import PPCA, GaussianMixture
from dask_em.models.ppca_streaming import StreamingPPCA

RNG = np.random.default_rng(0)
D = 2500
ROWS = RNG.normal(size=(150, 2)) @ RNG.normal(size=(2, D)) + RNG.normal(size=(150, D))
GAPS = np.where(RNG.random(ROWS.shape) < 0.1, np.nan, ROWS)


def test_questions_need_no_scatter() -> None:
    found = PPCA(2, random_state=0).fit(ROWS)
    tracemalloc.start()
    try:
        asked = found.score(ROWS), found.bic(ROWS), found.aic(ROWS)
        found.transform(ROWS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * D * D / 2
    assert asked[0] == pytest.approx(found.score_samples(ROWS).mean(), rel=1e-12)


@pytest.mark.parametrize(
    "options", [{"solver": "em"}, {"missing": "model"}, {}], ids=["em", "gaps", "closed"]
)
def test_a_plan_promises_the_memory_of_a_start(tmp_path: Path, options: dict[str, Any]) -> None:
    array = zarr.create_array(tmp_path / "x", shape=(9000, 300), chunks=(300, 300), dtype="f4")
    array[:] = np.tile(ROWS[:, :300], (60, 1))
    model = PPCA(2, random_state=0, max_iter=3, tol=1e-2, **options)
    promise = dask_em.plan(array, model, probe=False)
    tracemalloc.start()
    try:
        model.fit(array)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < promise.client_bytes + promise.worker_bytes
    # the sample of a start, 34 MB in float64, and its copies: none is climbed
    many = zarr.create_array(tmp_path / "y", shape=(10**6, 300), chunks=(300, 300), dtype="f4")
    assert dask_em.plan(many, model, probe=False).client_bytes < 250e6


def test_bits_do_not_depend_on_the_threads_of_blas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, svd = [], np.linalg.svd

    def recorded(*given: Any, **options: Any) -> Any:
        used.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return svd(*given, **options)

    with threadpool_limits(2, user_api="blas"):
        monkeypatch.setattr(np.linalg, "svd", recorded)
        for rotation in (True, False):
            found = PPCA(2, rotation=rotation, random_state=0).fit(ROWS)
            found.save(tmp_path / f"{rotation}")
            assert set(used) == {1}
            used.clear()
            dask_em.load(tmp_path / f"{rotation}")
            assert set(used) == {1}


def test_a_score_is_that_of_the_density() -> None:
    few = ROWS[:, :9]
    found = PPCA(8).fit(few)
    density = multivariate_normal(found.mean_, found.get_covariance())
    assert found.score(few) == pytest.approx(density.logpdf(few).mean(), rel=1e-10)


def test_rows_with_gaps_are_no_other_matter() -> None:
    with pytest.raises(dask_em.DataError, match='missing="model"'):
        PPCA(2).fit(GAPS)
    start = StreamingPPCA(2, "random")
    assert start.with_gaps().n_components == 2
    assert start.with_gaps().start == "random"
    assert start.with_gaps().floor is start.floor


@pytest.mark.parametrize("solver", ["auto", "em"])
def test_a_plan_is_made_for_what_it_is_given(solver: str) -> None:
    given = dask_em.plan(GAPS, PPCA(2, solver=solver), missing="model", probe=False)
    said = dask_em.plan(GAPS, PPCA(2, solver=solver, missing="model"), probe=False)
    assert given == said
    few = ROWS[:, :9]
    assert dask_em.plan(few, PPCA(2), probe=False).algorithm == "closed"
    textbook = dask_em.plan(few, PPCA(2), algorithm="em", probe=False)
    assert textbook == dask_em.plan(few, PPCA(2, algorithm="em"), probe=False)
    mixture = dask_em.plan(few, GaussianMixture(2), algorithm="accelerated", probe=False)
    assert mixture.algorithm == "accelerated"
