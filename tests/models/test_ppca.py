"""Probabilistic PCA of rows without gaps: EM, the closed form, and published optima."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA

from dask_em.core.block import Block
from dask_em.core.em import fit
from dask_em.core.records import Array
from dask_em.core.stopping import Stopping
from dask_em.errors import DataError, DegenerateError, InputError, SchemaError, StatisticsError
from dask_em.models.frame import Frame
from dask_em.models.ppca import PPCA
from dask_em.models.ppca_closed import closed_form
from dask_em.models.ppca_model import LatentModel
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.testing.models import MODEL_LAWS, ModelCase

IRIS = load_iris().data
WINE = load_wine().data

LOADINGS = np.array([[1.0, 0.2], [-0.5, 0.8], [0.3, -0.6], [0.9, 0.4], [0.1, 0.7]])
TRUTH = PPCAParameters(np.array([0.5, -1.0, 0.0, 2.0, 0.3]), LOADINGS, 0.2)


def optimum(rows: Array, q: int, weights: Array | None = None) -> PPCAParameters:
    return PPCA(q).initialize(Block(rows, weights), np.random.default_rng(0))


def log_likelihood(rows: Array, parameters: PPCAParameters) -> float:
    return PPCA(1).expect(Block(rows), parameters).log_likelihood


def rows_of(parameters: PPCAParameters) -> Callable[[int, np.random.Generator], Array]:
    return lambda n, rng: PPCA(2).sample(n, parameters, rng)[0]


def log_density(rows: Array, parameters: PPCAParameters) -> Array:
    """SciPy's."""
    return np.asarray(multivariate_normal(parameters.mean, parameters.covariance).logpdf(rows))


def moved(parameters: PPCAParameters, shift: Array, scale: float) -> PPCAParameters:
    return PPCAParameters(
        parameters.mean * scale + shift,
        parameters.loadings * scale,
        parameters.noise_variance * scale**2,
    )


def step(rows: Array, parameters: PPCAParameters) -> PPCAParameters:
    """Row by row, Bishop (2006) equations 12.54 to 12.57."""
    W, noise = parameters.loadings, parameters.noise_variance
    mean = rows.mean(axis=0)
    M = W.T @ W + noise * np.eye(parameters.q)
    latent = (rows - mean) @ W @ np.linalg.inv(M)
    second = [noise * np.linalg.inv(M) + np.outer(z, z) for z in latent]
    loadings = (rows - mean).T @ latent @ np.linalg.inv(np.sum(second, axis=0))
    left = [
        (x - mean) @ (x - mean)
        - 2 * z @ loadings.T @ (x - mean)
        + np.trace(s @ loadings.T @ loadings)
        for x, z, s in zip(rows, latent, second, strict=True)
    ]
    return PPCAParameters(mean, loadings, float(np.sum(left)) / rows.size)


def cases(name: str, model: Callable[[int, str], LatentModel[Any]]) -> list[ModelCase]:
    """The law cases of a model of rows without gaps, from either start."""
    return [
        ModelCase(
            f"{name}-{start}",
            model(2, start),
            rows=rows_of(TRUTH),
            planted=TRUTH,
            log_density=log_density,
            step=step,
            moved=moved,
            single=1e-4,
        )
        for start in ("closed", "random")
    ]


CASES = cases("ppca", PPCA)


@pytest.mark.parametrize("law", MODEL_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_laws(case: ModelCase, law: Callable[[ModelCase], None]) -> None:
    law(case)


@pytest.mark.parametrize(
    ("rows", "q", "noise", "total"),
    [
        (IRIS, 1, 0.11413908, -470.669458),
        (IRIS, 2, 0.05068215, -404.962780),
        (WINE, 2, 1.55306269, -5195.745706),
    ],
)
def test_published_optima(rows: Array, q: int, noise: float, total: float) -> None:
    found = optimum(rows, q)
    assert_allclose(found.noise_variance, noise, rtol=0, atol=5e-9)
    assert_allclose(log_likelihood(rows, found), total, rtol=0, atol=5e-7)
    assert_allclose(log_density(rows, found).sum(), total, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("rows", "q"), [(IRIS, 1), (IRIS, 2), (IRIS, 3), (WINE / WINE.std(0), 2)])
def test_em_ascends_to_the_closed_form(rows: Array, q: int) -> None:
    model = PPCA(q, "random")
    start = model.initialize(Block(rows), np.random.default_rng(3))
    run = fit(model, Block(rows), start, Stopping(1e-13, 20_000))
    assert np.diff(run.objectives).min() > -1e-12
    best = log_likelihood(rows, optimum(rows, q)) / len(rows)
    assert best - 1e-8 < run.objectives[-1] < best + 1e-11


def test_em_needs_one_reading() -> None:
    """The statistics at other parameters follow from those at any."""
    model, block = PPCA(2), Block(WINE)
    here = model.initialize(block, np.random.default_rng(0))
    there = PPCA(3, "random").initialize(block, np.random.default_rng(0))
    read = model.expect(block, here)
    again = model.expect(block, replace(there, frame=read.frame))
    assert read.placed(there).equals(again)


@pytest.mark.parametrize("q", [1, 2, 3])
def test_all_numbers_of_dimensions_from_one_scatter(q: int) -> None:
    block = Block(IRIS)
    statistics = PPCA(1).expect(block, optimum(IRIS, 1))
    found = closed_form(statistics, q)
    theirs = PCA(q).fit(IRIS)
    assert subspace_angles(found.loadings, theirs.components_.T).max() < 1e-6
    axes, variances = found.principal
    assert_allclose(np.abs((axes * theirs.components_).sum(axis=1)), 1, atol=1e-12)
    assert (axes[np.arange(q), np.abs(axes).argmax(axis=1)] > 0).all()
    # scikit-learn divides by n - 1
    shrink = (len(IRIS) - 1) / len(IRIS)
    assert_allclose(variances, theirs.explained_variance_ * shrink, rtol=1e-10)
    assert_allclose(found.noise_variance, theirs.noise_variance_ * shrink, rtol=1e-10)
    assert found.n_free_parameters == PPCA(q).n_parameters(4)


def test_no_latent_dimensions_are_a_sphere() -> None:
    found = closed_form(PPCA(1).expect(Block(IRIS), optimum(IRIS, 1)), 0)
    assert_allclose(found.covariance, IRIS.var(axis=0).mean() * np.eye(4), rtol=1e-12)
    assert_allclose(log_likelihood(IRIS, found), log_density(IRIS, found).sum(), rtol=1e-12)
    assert found.n_free_parameters == 5


def test_dense_algebra_agrees() -> None:
    assert_allclose(TRUTH.precision @ TRUTH.covariance, np.eye(5), atol=1e-14)
    assert_allclose(TRUTH.log_determinant, np.linalg.slogdet(TRUTH.covariance)[1], rtol=1e-13)
    assert_allclose(TRUTH.rotated().covariance, TRUTH.covariance, atol=1e-14)
    # Tipping and Bishop (1999), section 3.3, and the mean
    assert TRUTH.n_free_parameters == 5 + (5 * 2 + 1 - 1)


def test_all_but_one_dimension_is_any_covariance() -> None:
    rows = WINE / WINE.std(axis=0)
    found = optimum(rows, 12)
    assert_allclose(found.covariance, np.cov(rows.T, bias=True), atol=1e-12)


@pytest.mark.parametrize("far", [0.0, 1e6, 1e12])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_far_and_large_rows_lose_nothing(far: float, scale: float) -> None:
    rows = np.round(IRIS * 1024) / 1024
    here, there = optimum(rows, 2), optimum((rows + far) * scale, 2)
    tolerance = max(1e-8, 1e-15 * far)
    assert_allclose(there.noise_variance / scale**2, here.noise_variance, rtol=tolerance)


def test_large_float32_rows_do_not_overflow() -> None:
    rows = (IRIS * 1e25).astype(np.float32)
    found = optimum(rows, 1)
    assert_allclose(found.noise_variance / 1e50, 0.11413908, rtol=1e-5)


def test_little_noise_is_squared_in_double_precision() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 2)) @ rng.normal(size=(2, 6)) * 8 + 1e-4 * rng.normal(
        size=(5000, 6)
    )
    single = rows.astype(np.float32)
    found, wanted = optimum(single, 2), optimum(single.astype(float), 2)
    again = closed_form(PPCA(2).expect(Block(single), found), 2)
    assert_allclose(again.noise_variance, wanted.noise_variance, rtol=1e-6)


def test_more_features_than_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(10, 30))
    some = optimum(rows, 4)
    assert not some.repaired
    assert_allclose(log_likelihood(rows, some), log_density(rows, some).sum(), rtol=1e-11)
    all_explained = optimum(rows, 12)
    (repair,) = all_explained.repaired
    assert repair.kind == "singular"
    variance = rows.var(axis=0).mean()
    assert_allclose(all_explained.noise_variance, 1e-10 * variance, rtol=1e-6)
    assert np.isfinite(log_likelihood(rows, all_explained))
    strict = PPCA(12, floor=NoiseFloor(degenerate="raise"))
    with pytest.raises(DegenerateError, match=r"floor of 1e-10.*fewer"):
        strict.initialize(Block(rows), rng)


def test_em_stops_at_the_floor() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 20))
    model = PPCA(8, "random", NoiseFloor(1e-4))
    run = fit(model, Block(rows), model.initialize(Block(rows), rng), Stopping(0.0, 400))
    assert np.diff(run.objectives).min() > -1e-9
    assert [repair.action for repair in model.repairs(run.parameters)] == [
        "noise variance lifted to its floor"
    ]


def test_a_constant_feature_has_no_loadings() -> None:
    rows = np.column_stack([IRIS, np.full(150, 7.0)])
    found = optimum(rows, 2)
    assert_allclose(found.mean[4], 7, rtol=1e-14)
    assert_allclose(found.loadings[4], 0, atol=1e-12)
    model = PPCA(2, "random")
    start = model.initialize(Block(rows), np.random.default_rng(0))
    run = fit(model, Block(rows), start, Stopping(1e-13, 5000))
    assert_allclose(run.parameters.noise_variance, found.noise_variance, rtol=1e-6)


@pytest.mark.parametrize("start", ["closed", "random"])
def test_rows_that_are_all_equal_are_refused(start: str) -> None:
    with pytest.raises(DegenerateError, match="all rows are equal"):
        PPCA(1, start).initialize(Block(np.full((5, 3), 0.1)), np.random.default_rng(0))


@pytest.mark.parametrize("variance", [-0.1, np.nan])
def test_lost_digits_are_not_taken_for_rows_that_are_equal(variance: float) -> None:
    with pytest.raises(DegenerateError, match=r"variance of the data is (-0.1|nan): .* no digits"):
        NoiseFloor().apply(0.0, variance)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_not_finite_show(bad: float, dtype: Any) -> None:
    rows = IRIS.astype(dtype)
    rows[7, 2] = bad
    assert not np.isfinite(PPCA(1).expect(Block(rows), optimum(IRIS, 1)).log_likelihood)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: PPCA(0), InputError, "n_components=0"),
        (lambda: PPCA(1, "best"), InputError, "start='best'"),
        (lambda: NoiseFloor(0.0), InputError, "relative=0.0"),
        (lambda: NoiseFloor(degenerate="drop"), InputError, "degenerate='drop'"),
        (lambda: optimum(IRIS, 4), InputError, "n_components=4 latent dimensions for 4 features"),
        (lambda: optimum(IRIS, 1, np.zeros(150)), DataError, "no rows"),
        (lambda: PPCAParameters(np.zeros(3), np.zeros((2, 1)), 1.0), SchemaError, "do not fit"),
        (lambda: PPCAParameters(np.zeros(3), np.zeros((3, 1)), np.nan), DegenerateError, "is nan"),
        (
            lambda: PPCAParameters(
                np.zeros(2), np.zeros((2, 1)), 1.0, Frame(np.zeros(2), np.array([1.0, 2.0]))
            ),
            SchemaError,
            "one scale for all",
        ),
    ],
)
def test_bad_input(make: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def test_sums_at_different_parameters_do_not_add() -> None:
    one = PPCA(1).expect(Block(IRIS), optimum(IRIS, 1))
    other = PPCA(1).expect(Block(IRIS), PPCA(1).maximize(one))
    with pytest.raises(StatisticsError, match="different at"):
        one + replace(other, at=replace(other.at, noise_variance=1.0))


def test_drawn_rows_have_the_covariance() -> None:
    rows, which = PPCA(2).sample(200_000, TRUTH, np.random.default_rng(0))
    assert_allclose(np.cov(rows.T), TRUTH.covariance, atol=0.02)
    assert not which.any()


def test_rows_that_lose_nothing_are_squared_where_they_lie() -> None:
    rng = np.random.default_rng(3)
    near = rng.normal(size=(400, 5)) * [3, 2, 1, 1, 1] + 2
    model = PPCA(2)
    start = model.initialize(Block(near), rng)
    assert start.place.is_plain
    far = model.initialize(Block(near + 1e5), rng)
    single = model.initialize(Block(near.astype(np.float32)), rng)
    assert not far.place.is_plain
    assert not single.place.is_plain
    plain, moved_there = model.expect(Block(near), start), model.expect(Block(near), far)
    copied = replace(start, frame=single.place)
    assert_allclose(
        plain.log_likelihood, model.expect(Block(near), copied).log_likelihood, rtol=1e-13
    )
    assert moved_there.log_likelihood < plain.log_likelihood
    # float32 rows are not squared there as they are
    lost = model.expect(Block(near.astype(np.float32)), start).log_likelihood
    assert lost == pytest.approx(plain.log_likelihood, rel=1e-7)
