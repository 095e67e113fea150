"""Mixtures of principal component analysers: against the paper, and where they are other models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris

from dask_em import Block, Stopping
from dask_em.core.em import fit
from dask_em.errors import DegenerateError, InputError, SchemaError
from dask_em.models.criteria import Criteria
from dask_em.models.gaussian import Gaussian
from dask_em.models.low_rank import LowRank
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.models.ppca import PPCA
from dask_em.models.ppca_emission import Analysers, PrincipalComponents
from dask_em.models.seeding import STARTS, Given, KMeans
from dask_em.testing.closeness import assert_close
from tests.models import analysers as paper

K, D, Q = 3, 6, 2
TRUTH = paper.planted(K, D, Q)
MODEL = Mixture(PrincipalComponents(Q), K, KMeans())


def drawn(n: int, seed: int = 0, truth: MixtureParameters = TRUTH) -> Block:
    rng = np.random.default_rng(seed)
    return Block(rng.permutation(MODEL.sample(n, truth, rng)[0]))


def started(block: Block, model: Mixture = MODEL, seed: int = 0) -> MixtureParameters:
    return model.initialize(block, np.random.default_rng(seed))


def worse(parameters: MixtureParameters) -> MixtureParameters:
    """Parameters near others, of the same family."""
    rng = np.random.default_rng(3)
    some: Any = parameters.components
    off = replace(
        some,
        means=some.means + 0.3 * rng.normal(size=some.means.shape),
        loadings=some.loadings + 0.3 * rng.normal(size=some.loadings.shape),
        noise_variances=2 * some.noise_variances,
    )
    return MixtureParameters(np.full(parameters.k, 1 / parameters.k), off)


def objective(model: Any, block: Block, parameters: Any) -> float:
    return float(model.expect(block, parameters).log_likelihood / block.mass)


def matched(found: MixtureParameters, truth: MixtureParameters) -> list[int]:
    """Which component of `found` is nearest to each of the truth's."""
    mine: Any = found.components
    theirs: Any = truth.components
    return [int(((mine.means - mean) ** 2).sum(axis=1).argmin()) for mean in theirs.means]


def test_planted_analysers_are_recovered() -> None:
    block = drawn(20_000)
    found = fit(MODEL, block, started(block), Stopping(1e-9, 300)).parameters
    order = matched(found, TRUTH)
    assert sorted(order) == list(range(K))
    mine: Any = found.components
    theirs: Any = TRUTH.components
    assert_allclose(found.weights[order], TRUTH.weights, atol=0.01)
    assert_allclose(mine.means[order], theirs.means, atol=0.1)
    assert_allclose(mine.noise_variances[order], theirs.noise_variances, rtol=0.03)
    for j, i in enumerate(order):
        there = theirs.loadings[j] @ theirs.loadings[j].T
        assert_allclose(mine.loadings[i] @ mine.loadings[i].T, there, atol=0.06 * there.max())


def test_every_step_is_the_papers() -> None:
    block, parameters = drawn(700), worse(TRUTH)
    for _ in range(5):
        statistics = MODEL.expect(block, parameters)
        expected = float(paper.log_density(block.values, parameters).sum())
        assert statistics.log_likelihood == pytest.approx(expected, rel=1e-11)
        plain = paper.step(block.values, parameters)
        parameters = MODEL.maximize(statistics)
        some: Any = parameters.components
        other: Any = plain.components
        assert_allclose(parameters.weights, plain.weights, rtol=1e-9)
        for name in ("means", "loadings", "noise_variances"):
            assert_allclose(getattr(some, name), getattr(other, name), rtol=1e-8, atol=1e-8)


def test_the_papers_iteration_of_loadings_ends_at_the_same_optimum() -> None:
    block, there = drawn(500), worse(TRUTH)
    before = objective(MODEL, block, there)
    ours = fit(MODEL, block, there, Stopping(0, 200)).last.objective
    for _ in range(600):
        there = paper.two_stage_step(block.values, there)
    assert objective(MODEL, block, there) == pytest.approx(ours, abs=1e-9)
    assert ours > before + 0.1


@pytest.mark.parametrize("kind", ["lifted", "centred"])
def test_the_objective_ascends_with_either_kernel(kind: str) -> None:
    # apart by so much that squares lose digits
    far = paper.planted(K, D, Q, apart=2.0 if kind == "lifted" else 1e4)
    block = drawn(400, truth=far)
    assert MODEL.kernel_name(worse(far), np.dtype(float)) == kind
    objectives = fit(MODEL, block, worse(far), Stopping(0, 60)).objectives
    assert (np.diff(objectives) > -1e-11).all()
    assert objectives[-1] > objectives[0] + 0.1


def test_one_component_is_probabilistic_pca() -> None:
    block = Block(drawn(900).values, np.random.default_rng(1).uniform(0, 2, 900))
    alone, model = PPCA(Q), Mixture(PrincipalComponents(Q), 1, KMeans())
    start = alone.initialize(block, np.random.default_rng(0))
    closed = alone.closed_form(alone.expect(block, start))
    found = model.maximize(model.expect(block, started(block, model)))
    expected = objective(alone, block, closed)
    assert objective(model, block, found) == pytest.approx(expected, abs=1e-8)
    one = found.components.analyser(0)  # type: ignore[attr-defined]
    assert_allclose(one.loadings, closed.loadings, atol=1e-8)
    assert_allclose(one.principal[1], closed.principal[1], rtol=1e-10)
    assert_allclose(one.noise_variance, closed.noise_variance, rtol=1e-10)


def test_iris() -> None:
    # the closed form's: one latent dimension, noise variance 0.11413908
    block = Block(load_iris().data)
    model = Mixture(PrincipalComponents(1), 1, KMeans())
    found = model.maximize(model.expect(block, started(block, model)))
    assert 150 * objective(model, block, found) == pytest.approx(-470.669458, abs=1e-5)
    some: Any = found.components
    assert_allclose(some.noise_variances, 0.11413908, atol=1e-8)


def test_all_dimensions_but_one_are_full_covariances() -> None:
    block = drawn(900)
    full = Mixture(Gaussian(), K, KMeans())
    most = Mixture(PrincipalComponents(D - 1), K, KMeans())
    shares = np.random.default_rng(0).dirichlet(np.ones(K), len(block)).T
    here, there = (
        MixtureParameters(
            np.full(K, 1 / K), model.emission.estimate(*model.emission.summarize(block, shares))[0]
        )
        for model in (most, full)
    )
    assert objective(most, block, here) == pytest.approx(objective(full, block, there), abs=1e-8)
    for _ in range(10):
        here, there = (
            most.maximize(most.expect(block, here)),
            full.maximize(full.expect(block, there)),
        )
    assert objective(most, block, here) == pytest.approx(objective(full, block, there), abs=1e-8)
    assert most.n_free_parameters(here) == full.n_free_parameters(there)


@pytest.mark.parametrize(("k", "d", "q"), [(1, 2, 1), (3, 6, 2), (8, 50, 5)])
def test_free_parameters(k: int, d: int, q: int) -> None:
    expected = k * (d + d * q - q * (q - 1) // 2 + 1) + k - 1
    model = Mixture(PrincipalComponents(q), k, KMeans())
    assert model.n_parameters(d) == expected
    assert model.n_free_parameters(paper.planted(k, d, q)) == expected


def test_bic_finds_the_latent_dimensions() -> None:
    block = drawn(3000)
    found = {}
    for q in (1, 2, 3):
        model = Mixture(PrincipalComponents(q), K, KMeans())
        last = fit(model, block, started(block, model), Stopping(1e-7, 200)).last
        found[q] = Criteria.of(model, last.parameters, last.statistics)
    assert min(found, key=lambda q: found[q].bic) == Q
    assert all(np.isfinite(one.icl) for one in found.values())
    assert found[3].log_likelihood > found[2].log_likelihood > found[1].log_likelihood


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_every_start_climbs(start: Any) -> None:
    block = drawn(500)
    model = Mixture(PrincipalComponents(Q), K, start)
    objectives = fit(model, block, started(block, model), Stopping(0, 20)).objectives
    assert (np.diff(objectives) > -1e-11).all()
    assert objectives[-1] > objectives[0]


def test_given_means_are_taken_over() -> None:
    means = np.arange(K * D, dtype=float).reshape(K, D)
    found: Any = started(drawn(300), replace(MODEL, start=Given(means=means))).components
    assert_allclose(found.means, means)
    assert found.loadings.shape == (K, D, Q)


def test_what_is_added_to_the_variances_is_noise() -> None:
    block = drawn(500)
    statistics = MODEL.expect(block, worse(TRUTH))
    plain: Any = MODEL.maximize(statistics).components
    model = Mixture(PrincipalComponents(Q, reg_covar=0.25), K, KMeans())
    found: Any = model.maximize(statistics).components
    assert_allclose(found.noise_variances, plain.noise_variances + 0.25, rtol=1e-10)
    assert_allclose(found.loadings, plain.loadings, atol=1e-9)
    assert MODEL.monotone
    assert not model.monotone


def test_rows_drawn_and_rows_placed() -> None:
    rows, origin = MODEL.sample(6000, TRUTH, np.random.default_rng(4))
    shares, log_density = MODEL.posterior(Block(rows), TRUTH)
    assert_allclose(shares, paper.shares(rows, TRUTH), atol=1e-9)
    assert_allclose(log_density, paper.log_density(rows, TRUTH), rtol=1e-10)
    assert (shares.argmax(axis=1) == origin).mean() > 0.97
    some: Any = TRUTH.components
    for j in range(K):
        there = some.analyser(j).covariance
        assert_allclose(np.cov(rows[origin == j].T), there, atol=0.1 * there.max())


def test_a_component_of_few_rows_is_no_fault_while_there_is_noise() -> None:
    # 4 rows in 6 dimensions: a general covariance would be singular
    block = drawn(4)
    model = Mixture(PrincipalComponents(1), 1, KMeans())
    found = started(block, model)
    assert found.repaired == ()
    assert np.isfinite(objective(model, block, found))
    assert started(block, Mixture(Gaussian(), 1, KMeans())).repaired != ()


def flat(n: int = 60) -> Block:
    """Rows that the latent dimensions explain without noise."""
    rng = np.random.default_rng(0)
    return Block(rng.normal(size=(n, Q)) @ rng.normal(size=(Q, D)) + 5)


def test_noise_has_a_floor() -> None:
    block, model = flat(), Mixture(PrincipalComponents(Q), 1, KMeans())
    found = model.maximize(model.expect(block, started(block, model)))
    (repair,) = found.repaired
    assert (repair.kind, repair.component) == ("singular", 0)
    some: Any = found.components
    alone = PPCA(Q)
    closed = alone.closed_form(
        alone.expect(block, alone.initialize(block, np.random.default_rng(0)))
    )
    assert repair.action == closed.repaired[0].action == "noise variance lifted to its floor"
    assert 0.1 < some.noise_variances[0] / closed.noise_variance < 10
    assert np.isfinite(objective(model, block, found))
    strict = replace(model, emission=PrincipalComponents(Q, repair=False), degenerate="raise")
    with pytest.raises(DegenerateError, match="ill-defined empirical covariance"):
        strict.maximize(strict.expect(block, found))


def test_the_objective_ascends_along_the_floor() -> None:
    rows = np.random.default_rng(0).exponential(size=(3000, D))
    rows[:, 3] = 7.0
    block, model = Block(rows), Mixture(PrincipalComponents(D - 1, floor=1e-12), K, KMeans())
    found = fit(model, block, started(block, model), Stopping(0, 30))
    assert {one.kind for one in found.parameters.repaired} == {"singular"}
    assert (np.diff(found.objectives) > 0).all()


@pytest.mark.parametrize(("policy", "left"), [("repair", 3), ("drop", 2)])
@pytest.mark.parametrize("kind", ["empty", "duplicate"])
def test_useless_components(kind: str, policy: str, left: int) -> None:
    some: Any = TRUTH.components
    means, loadings, noises = some.means.copy(), some.loadings.copy(), some.noise_variances.copy()
    means[2], loadings[2], noises[2] = means[1], loadings[1], noises[1]
    if kind == "empty":
        means[2] = 1e4
    start = MixtureParameters(np.full(K, 1 / K), Analysers(means, loadings, noises))
    block, model = drawn(400), replace(MODEL, degenerate=policy)
    found = model.maximize(model.expect(block, start))
    assert (kind, 2) in {(one.kind, one.component) for one in found.repaired}
    assert found.k == left
    assert np.isfinite(objective(model, block, found))
    mended = model.reseed(found, block)
    assert np.isfinite(objective(model, block, mended))
    if policy == "repair":
        moved: Any = mended.components
        assert (moved.means[2] == block.values).all(axis=1).any()
        assert moved.loadings.shape == (K, D, Q)


def test_a_column_of_another_sign_or_rotation_is_the_same_analyser() -> None:
    some: Any = TRUTH.components
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(Q, Q))).Q
    turned = replace(TRUTH, components=replace(some, loadings=some.loadings @ turn))
    block = drawn(100)
    here, there = MODEL.expect(block, TRUTH), MODEL.expect(block, turned)
    assert there.log_likelihood == pytest.approx(here.log_likelihood, rel=1e-12)


def test_bad_latent_dimensions() -> None:
    for make in (PrincipalComponents, LowRank):
        with pytest.raises(InputError, match="n_latent=0; it must be 1 or more"):
            make(n_latent=0)
    model = Mixture(PrincipalComponents(D), K, KMeans())
    for ask in (lambda: started(drawn(50), model), lambda: model.n_parameters(D)):
        with pytest.raises(InputError, match=f"n_latent={D} latent dimensions for {D} features"):
            ask()


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(SchemaError, match=r"means of shape \(2, 3\).*\(3, 1\).*give \(k, d\)"):
        Analysers(np.zeros((2, 3)), np.zeros((3, 1)), np.ones(2))


def test_noise_below_zero_has_no_density() -> None:
    some: Any = TRUTH.components
    bad = replace(TRUTH, components=replace(some, noise_variances=-some.noise_variances))
    with pytest.raises(DegenerateError):
        MODEL.expect(drawn(10), bad)


def test_several_mixtures_in_one_go_are_each_by_itself() -> None:
    block, one = drawn(500), started(drawn(300))
    other = replace(TRUTH, components=MODEL.emission.aligned(TRUTH.components, one.components))
    assert len(MODEL._groups([one, other], np.dtype(float))) == 1
    together = MODEL.expect_each(block, [one, other])
    for found, parameters in zip(together, (one, other), strict=True):
        assert_close(found, MODEL.expect(block, parameters), 1e-12)
