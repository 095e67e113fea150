"""Probabilistic PCA from products: EM as on the scatter, and few passes to the optimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles

from dask_em import Outcome, Stopping, fit
from dask_em.core.block import Block
from dask_em.core.em import em
from dask_em.core.em import fit as fit_block
from dask_em.core.records import Array
from dask_em.core.together import expect_each
from dask_em.engine.fit import Fitted
from dask_em.errors import DataError, DegenerateError, InputError
from dask_em.models.frame import Frame
from dask_em.models.ppca import PPCA
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_streaming import StreamingPPCA
from dask_em.testing.models import MODEL_LAWS, ModelCase
from tests.engine.sources import MadeSource
from tests.models.test_ppca import IRIS, WINE, cases, log_density

CASES = cases("streaming-ppca", StreamingPPCA)


@pytest.mark.parametrize("law", MODEL_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_laws(case: ModelCase, law: Callable[[ModelCase], None]) -> None:
    law(case)


def falling(n: int, d: int, power: float = 1.0, floor: float = 0.01, seed: int = 0) -> Array:
    """Rows whose eigenvalues fall slowly: no few dimensions stand out."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    values = np.arange(1, d + 1) ** -power + floor
    return np.asarray((rng.normal(size=(n, d)) * np.sqrt(values)) @ axes + rng.normal(size=d))


def stored(path: Path, rows: Array, chunk: int) -> str:
    array = zarr.create_array(
        path, shape=rows.shape, chunks=(chunk, rows.shape[1]), dtype=rows.dtype
    )
    array[:] = rows
    return str(path)


def objective(rows: Array, parameters: PPCAParameters, weights: Array | None = None) -> float:
    """Nats per unit of mass, from the scatter in double precision."""
    block = Block(rows.astype(np.float64), weights)
    return PPCA(1).expect(block, parameters).log_likelihood / block.mass


def best(rows: Array, q: int, weights: Array | None = None) -> float:
    """That of the closed form."""
    block = Block(rows.astype(np.float64), weights)
    closed = PPCA(q).initialize(block, np.random.default_rng(0))
    again = PPCA(q).closed_form(PPCA(q).expect(block, closed))
    return objective(rows, again, weights)


def few_passes(
    q: int, data: Any, gap: float = 1e-8, init_sample: int | None = 400, **options: Any
) -> Fitted[PPCAParameters]:
    return fit(
        StreamingPPCA(q),
        data,
        **{
            "rng": np.random.default_rng(1),
            "stopping": Stopping(tol_gap=gap, max_iter=40),
            "algorithm": "accelerated",
            "init_sample": init_sample,
        }
        | options,
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("rows", "q"), [(IRIS, 1), (WINE / WINE.std(0), 3), (WINE / WINE.std(0), 12)]
)
def test_em_is_that_of_the_scatter_pass_after_pass(rows: Array, q: int, weighted: bool) -> None:
    weights = np.random.default_rng(2).uniform(0, 3, len(rows)) if weighted else None
    block, gram, streaming = Block(rows, weights), PPCA(q, "random"), StreamingPPCA(q, "random")
    start = gram.initialize(block, np.random.default_rng(3))
    # sums about a place that is not the mean
    place = Frame(start.place.shift + 0.7 * start.place.scale, start.place.scale)
    start = replace(start, frame=place)
    mine = em(streaming, lambda one: streaming.expect(block, one), start)
    theirs = em(gram, lambda one: gram.expect(block, one), start)
    for _ in range(30):
        here, there = next(mine), next(theirs)
        assert_allclose(here.objective, there.objective, rtol=1e-11)
        assert_allclose(
            here.parameters.covariance, there.parameters.covariance, rtol=0,
            atol=1e-9 * np.abs(there.parameters.covariance).max(),
        )  # fmt: skip


def test_em_ascends_to_the_closed_form() -> None:
    rows = WINE / WINE.std(axis=0)
    model = StreamingPPCA(2, "random")
    start = model.initialize(Block(rows), np.random.default_rng(0))
    run = fit_block(model, Block(rows), start, Stopping(1e-13, 20_000))
    assert np.diff(run.objectives).min() > -1e-12
    assert best(rows, 2) - 1e-8 < run.objectives[-1] < best(rows, 2) + 1e-11


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("q", [1, 5])
def test_few_passes_lead_to_the_closed_form(tmp_path: Path, q: int, dtype: str) -> None:
    rows = falling(3000, 60).astype(dtype)
    found = few_passes(q, stored(tmp_path / "rows", rows, 250))
    assert found.converged
    assert_allclose(objective(rows, found.parameters), best(rows, q), rtol=0, atol=1e-8)
    gaps = [record.gap for record in found.history[1:]]
    steps = [record.step for record in found.history[1:]]
    assert steps == ["start", *["ritz"] * (len(gaps) - 1)]
    assert np.diff(found.objectives).min() > (-1e-12 if dtype == "f8" else -1e-6)
    closed = PPCA(q).initialize(Block(rows.astype(float)), np.random.default_rng(0))
    assert subspace_angles(found.parameters.loadings, closed.loadings).max() < 1e-3


def test_gaps_are_neither_far_too_small_nor_idle(tmp_path: Path) -> None:
    """The gap is that of the parameters with which the fit would end: the next objective."""
    rows = falling(4000, 120, power=0.7)
    found = few_passes(8, stored(tmp_path / "rows", rows, 500), 1e-10)
    truth, ahead = best(rows, 8), found.objectives[1:]
    first, *estimated = [record.gap for record in found.history[1:-1]]
    assert first is None  # nothing is known of directions that no pass has touched
    assert len(estimated) >= 3
    for gap, value in zip(estimated, ahead[1:], strict=True):
        if truth - value > 1e-9:
            assert gap is not None
            assert 0.8 < gap / (truth - value) < 1.5


def test_a_slow_case_takes_few_passes(tmp_path: Path) -> None:
    rows = falling(20_000, 300, power=0.5, floor=0.3).astype(np.float32)
    q, truth, path = 12, best(rows, 12), stored(tmp_path / "rows", rows, 1000)
    found = few_passes(q, path, 1e-5)
    assert found.converged
    assert truth - objective(rows, found.parameters) < 1e-4
    assert len(found.history) <= 8
    # plain EM, whose steps on the scatter are the same
    scatter = PPCA(q).expect(Block(rows.astype(float)), found.parameters)
    start = StreamingPPCA(q).initialize(Block(rows[:400]), np.random.default_rng(1))
    at = scatter.placed(start)
    for _ in range(200):
        at = scatter.placed(PPCA(q).maximize(at))
    assert truth - at.log_likelihood / at.mass > 1e-4


def test_directions_are_not_taken_for_parameters(tmp_path: Path) -> None:
    """They may be more than the model has, and more likely than its optimum then."""
    rng = np.random.default_rng(0)
    values = np.r_[np.full(6, 2.0), np.ones(54)]
    rows = rng.normal(size=(10_000, 60)) * np.sqrt(values)
    loadings = np.zeros((60, 3))
    loadings[-3:] = 0.3 * np.eye(3)
    start = PPCAParameters(np.zeros(60), loadings, 1.0)
    found = few_passes(3, stored(tmp_path / "rows", rows, 2000), start=start, init_sample=4000)
    assert found.outcome is Outcome.CONVERGED
    assert max(found.objectives) <= best(rows, 3) + 1e-9
    assert found.objectives[0] == pytest.approx(objective(rows, start), abs=1e-9)


def test_loadings_that_hardly_differ_cost_no_digits(tmp_path: Path) -> None:
    rows = falling(4000, 60).astype(np.float32)
    rng = np.random.default_rng(2)
    alike = rng.normal(size=(60, 1)) + 2e-6 * rng.normal(size=(60, 5))
    start = PPCAParameters(rows.mean(axis=0).astype(np.float64), alike, 0.1)
    found = few_passes(5, stored(tmp_path / "rows", rows, 1000), gap=1e-6, start=start)
    assert found.outcome is Outcome.CONVERGED
    assert objective(rows, found.parameters) == pytest.approx(best(rows, 5), abs=1e-5)


def test_the_pass_at_the_start_multiplies_more_of_the_sample(tmp_path: Path) -> None:
    """So that a fit that ends with it has left the span of its start."""
    rows = falling(3000, 60)
    path = stored(tmp_path / "rows", rows, 500)
    start = StreamingPPCA(4).initialize(Block(rows[:200]), np.random.default_rng(0))
    found = few_passes(4, path, start=start, stopping=Stopping(tol_gap=0.0, max_iter=1))
    assert subspace_angles(found.parameters.loadings, start.loadings).max() > 0.01
    assert objective(rows, found.parameters) > objective(rows, start) + 0.01


def test_the_textbook_is_there_when_asked_for(tmp_path: Path) -> None:
    rows = falling(500, 20)
    path = stored(tmp_path / "rows", rows, 100)
    found = few_passes(2, path, algorithm="em", stopping=Stopping(0.0, 5))
    assert {record.step for record in found.history[1:]} == {"start", "em"}
    assert few_passes(2, path, algorithm="auto").history[-1].step == "ritz"
    assert few_passes(2, rows, algorithm="auto").history[-1].step == "em"


@pytest.mark.parametrize("init_sample", [None, 40])
def test_weights(tmp_path: Path, init_sample: int | None) -> None:
    rows, weights = falling(900, 30), np.random.default_rng(0).integers(0, 4, 900).astype(float)
    path = stored(tmp_path / "rows", rows, 100)
    found = few_passes(3, path, init_sample=init_sample, sample_weight=weights)
    repeated = np.repeat(rows, weights.astype(int), axis=0)
    assert_allclose(objective(repeated, found.parameters), best(repeated, 3), rtol=0, atol=1e-8)


def test_more_features_than_rows(tmp_path: Path) -> None:
    rows = falling(40, 300)
    path = stored(tmp_path / "rows", rows, 7)
    found = few_passes(5, path)
    assert found.converged
    assert_allclose(objective(rows, found.parameters), best(rows, 5), rtol=0, atol=1e-8)


def test_dimensions_that_explain_all_of_the_data(tmp_path: Path) -> None:
    rows = falling(10, 50)
    path = stored(tmp_path / "rows", rows, 4)
    found = few_passes(12, path)
    assert found.converged
    (repair,) = found.parameters.repaired
    assert repair.kind == "singular"
    assert_allclose(found.parameters.noise_variance, 1e-10 * rows.var(axis=0).mean(), rtol=1e-6)
    strict = StreamingPPCA(12, floor=NoiseFloor(degenerate="raise"))
    with pytest.raises(DegenerateError, match=r"floor of 1e-10.*fewer"):
        strict.initialize(Block(rows), np.random.default_rng(0))


@pytest.mark.parametrize("q", [1, 2, 3])
def test_few_features(tmp_path: Path, q: int) -> None:
    found = few_passes(q, stored(tmp_path / "rows", IRIS, 20), init_sample=50)
    assert found.converged
    assert_allclose(objective(IRIS, found.parameters), best(IRIS, q), rtol=0, atol=1e-10)


def test_a_constant_feature_has_no_loadings(tmp_path: Path) -> None:
    rows = np.column_stack([falling(600, 12), np.full(600, 7.0)])
    found = few_passes(3, stored(tmp_path / "rows", rows, 100), init_sample=100).parameters
    assert_allclose(found.mean[-1], 7, rtol=1e-14)
    assert_allclose(found.loadings[-1], 0, atol=1e-9)


def test_far_rows_lose_nothing(tmp_path: Path) -> None:
    rows = np.round(falling(800, 20) * 1024) / 1024
    here = few_passes(2, stored(tmp_path / "here", rows, 100))
    there = few_passes(2, stored(tmp_path / "there", rows + 1e9, 100))
    assert_allclose(there.parameters.noise_variance, here.parameters.noise_variance, rtol=1e-6)
    assert_allclose(there.objective, here.objective, rtol=0, atol=1e-6)


def test_little_noise_is_multiplied_in_double_precision(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3000, 2)) @ rng.normal(size=(2, 40)) * 8
    single = (rows + 1e-4 * rng.normal(size=rows.shape)).astype(np.float32)
    found = few_passes(2, stored(tmp_path / "rows", single, 500)).parameters
    wanted = PPCA(2).initialize(Block(single.astype(float)), rng)
    assert_allclose(found.noise_variance, wanted.noise_variance, rtol=1e-6)


def test_candidates_share_a_reading_of_the_rows() -> None:
    rows = falling(700, 30)
    block, model = Block(rows), StreamingPPCA(3)
    one = model.initialize(block, np.random.default_rng(0))
    other = StreamingPPCA(4, "random").initialize(block, np.random.default_rng(1))
    for also in (other, replace(other, frame=one.frame)):
        found = expect_each(model, block, [one, also])
        for sums, at in zip(found, [one, also], strict=True):
            assert_allclose(sums.log_likelihood, log_density(rows, at).sum(), rtol=1e-11)
            assert_allclose(sums.product, model.expect(block, at).product, rtol=1e-11)


def test_a_start_of_ones_own_goes_on(tmp_path: Path) -> None:
    rows = falling(2000, 50)
    path = stored(tmp_path / "rows", rows, 200)
    first = few_passes(4, path, stopping=Stopping(tol_gap=1e-10, max_iter=2))
    assert first.outcome is Outcome.ITERATION_LIMIT
    assert objective(rows, first.parameters) >= first.objective
    again = few_passes(4, path, start=first.parameters)
    assert_allclose(again.objectives[0], objective(rows, first.parameters), rtol=1e-12)
    assert_allclose(objective(rows, again.parameters), best(rows, 4), rtol=0, atol=1e-8)


def test_a_fit_that_was_interrupted_goes_on_bit_for_bit(tmp_path: Path) -> None:
    path = stored(tmp_path / "rows", falling(2000, 80, 0.5, 0.1), 200)
    whole = few_passes(4, path)
    assert len(whole.history) > 4
    for limit in (1, 2, 3):
        kept = tmp_path / f"kept-{limit}"
        few_passes(4, path, stopping=Stopping(tol_gap=1e-8, max_iter=limit), checkpoint=kept)
        again = few_passes(4, path, checkpoint=kept)
        assert again.parameters.equals(whole.parameters)
        assert again.objectives == whole.objectives


@pytest.mark.parametrize("n_tasks", [1, 2, 8])
def test_the_number_of_tasks_changes_no_bit(n_tasks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source = MadeSource(falling(2000, 80).astype(np.float32), 50)
    expected = few_passes(3, source)
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: n_tasks)
    found = few_passes(3, source)
    assert found.history[-1].n_tasks == n_tasks
    assert found.parameters.equals(expected.parameters)
    assert found.objectives == expected.objectives


def test_bad_input() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="n_components=4 latent dimensions for 4 features"):
        StreamingPPCA(4).initialize(Block(IRIS), rng)
    with pytest.raises(DataError, match="no rows"):
        StreamingPPCA(2).initialize(Block(IRIS[:0]), rng)
    with pytest.raises(DegenerateError, match="all rows are equal"):
        StreamingPPCA(2).initialize(Block(np.ones((9, 5))), rng)
