"""Probabilistic PCA of rows with gaps, against dense algebra row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris

from dask_em.core.block import Block
from dask_em.core.em import fit
from dask_em.core.records import Array
from dask_em.core.stopping import Stopping
from dask_em.errors import DataError, DegenerateError, InputError
from dask_em.models import ppca_gaps
from dask_em.models.frame import Frame
from dask_em.models.ppca import PPCA
from dask_em.models.ppca_missing import MissingPPCA
from dask_em.models.ppca_model import draw
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.testing.closeness import assert_close
from dask_em.testing.models import MODEL_LAWS, ModelCase

IRIS = load_iris().data
NAN = np.nan

LOADINGS = np.array(
    [[1.0, 0.2], [-0.5, 0.8], [0.3, -0.6], [0.9, 0.4], [0.1, 0.7], [-0.7, 0.3], [0.5, 0.5]]
)
TRUTH = PPCAParameters(np.array([0.5, -1.0, 0.0, 2.0, 0.3, -0.2, 1.0]), LOADINGS, 0.2)


def gappy(rows: Array, share: float, rng: np.random.Generator) -> Array:
    return np.where(rng.random(rows.shape) < share, NAN, rows)


def drawn(n: int, rng: np.random.Generator) -> Array:
    return draw(n, TRUTH, rng)


def at_random(n: int, rng: np.random.Generator) -> Array:
    return gappy(drawn(n, rng), 0.25, rng)


def in_patterns(n: int, rng: np.random.Generator) -> Array:
    patterns = np.random.default_rng(1).random((4, 7)) < 0.4
    patterns[0] = False
    return np.where(patterns[rng.integers(0, 4, n)], NAN, drawn(n, rng))


def log_density(rows: Array, parameters: PPCAParameters) -> Array:
    """SciPy's, of the observed part of each row."""
    found = np.zeros(len(rows))
    for i, row in enumerate(rows):
        o = ~np.isnan(row)
        if o.any():
            covariance = parameters.covariance[np.ix_(o, o)]
            found[i] = multivariate_normal(parameters.mean[o], covariance).logpdf(row[o])
    return found


def step(rows: Array, parameters: PPCAParameters) -> PPCAParameters:
    """One EM step, row by row and feature by feature, by dense algebra."""
    return plain_step(rows, parameters)[0]


def expanded_step(rows: Array, parameters: PPCAParameters) -> PPCAParameters:
    """The same, then latent variables of any mean and covariance made standard ones."""
    found, u, uu = plain_step(rows, parameters)
    seen = ~np.isnan(rows).all(axis=1)
    centre = u[seen, :-1].mean(axis=0)
    covariance = uu[seen, :-1, :-1].mean(axis=0) - np.outer(centre, centre)
    return replace(
        found,
        mean=found.mean + found.loadings @ centre,
        loadings=found.loadings @ np.linalg.cholesky(covariance),
    )


def plain_step(rows: Array, parameters: PPCAParameters) -> tuple[PPCAParameters, Array, Array]:
    W, noise, mean = parameters.loadings, parameters.noise_variance, parameters.mean
    (d, q), n = W.shape, len(rows)
    u, uu = np.ones((n, q + 1)), np.zeros((n, q + 1, q + 1))
    for i, row in enumerate(rows):
        o = ~np.isnan(row)
        # conditioning the joint normal of latent and observed, not through M
        inverse = np.linalg.inv(W[o] @ W[o].T + noise * np.eye(o.sum()))
        u[i, :q] = W[o].T @ inverse @ (row[o] - mean[o])
        uu[i] = np.outer(u[i], u[i])
        uu[i, :q, :q] += np.eye(q) - W[o].T @ inverse @ W[o]
    found, left = np.zeros((d, q + 1)), 0.0
    for j in range(d):
        o = ~np.isnan(rows[:, j])
        found[j] = np.linalg.solve(uu[o].sum(axis=0), u[o].T @ rows[o, j])
        left += (rows[o, j] ** 2 - 2 * rows[o, j] * (u[o] @ found[j])).sum()
        left += np.einsum("nij,i,j->", uu[o], found[j], found[j])
    noise = float(left / (~np.isnan(rows)).sum())
    return PPCAParameters(found[:, q], found[:, :q], noise), u, uu


def moved(parameters: PPCAParameters, shift: Array, scale: float) -> PPCAParameters:
    return PPCAParameters(
        parameters.mean * scale + shift,
        parameters.loadings * scale,
        parameters.noise_variance * scale**2,
    )


def case(name: str, rows: Callable[..., Array], start: str = "closed", **more: Any) -> ModelCase:
    model = MissingPPCA(2, start)
    return ModelCase(name, model, rows, TRUTH, log_density, expanded_step, single=1e-5, **more)


def plain(case: ModelCase) -> ModelCase:
    """Without parameter expansion."""
    model = replace(case.model, expanded=False)
    return replace(case, name=f"{case}-plain", model=model, step=step)


FROM_ANYWHERE = case("at-random-from-anywhere", at_random, "random")
CASES = [
    case("complete", drawn, moved=moved),
    case("at-random", at_random),
    FROM_ANYWHERE,
    plain(FROM_ANYWHERE),
    case("in-patterns", in_patterns),
]


@pytest.mark.parametrize("law", MODEL_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_laws(case: ModelCase, law: Callable[[ModelCase], None]) -> None:
    law(case)


def fitted(rows: Array, q: int, start: str = "closed", n: int = 2000, tol: float = 1e-12) -> Any:
    model = MissingPPCA(q, start)
    first = model.initialize(Block(rows), np.random.default_rng(0))
    return fit(model, Block(rows), first, Stopping(tol, n))


@pytest.mark.parametrize("slice_of", [2**17, 1])
def test_slices_change_nothing(slice_of: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patterns that slices cut in two, in the order of patterns and not of rows."""
    monkeypatch.setattr(ppca_gaps, "SLICE", slice_of)
    for rows in (drawn, at_random, in_patterns):
        block = Block(rows(1000, np.random.default_rng(0)))
        found = MissingPPCA(2).expect(block, TRUTH)
        assert_allclose(found.log_likelihood, log_density(block.values, TRUTH).sum(), rtol=1e-12)
        pieces = [MissingPPCA(2).expect(block.take([i]), TRUTH) for i in range(1000)]
        total = pieces[0]
        for piece in pieces[1:]:
            total = total + piece
        assert_close(total, found, 1e-11)


def test_units_are_a_convention_with_gaps_too() -> None:
    rows = np.round(at_random(200, np.random.default_rng(0)) * 2**20) / 2**20
    model, offset = MissingPPCA(2), np.full(7, 4096.0)
    here = model.expect(Block(rows), TRUTH)
    there = model.expect(Block(rows * 8 + offset), moved(TRUTH, offset, 8.0))
    volume = (~np.isnan(rows)).sum() * np.log(8)
    assert_allclose(there.log_likelihood + volume, here.log_likelihood, rtol=1e-11)
    back = moved(model.maximize(there), -offset / 8, 1 / 8)
    assert_close(back, moved(model.maximize(here), 0 * offset, 1.0), 1e-9)


def test_without_gaps_it_is_ppca() -> None:
    complete = PPCA(2)
    optimum = complete.initialize(Block(IRIS), np.random.default_rng(0))
    wanted = complete.expect(Block(IRIS), optimum)
    found = MissingPPCA(2).expect(Block(IRIS), optimum)
    assert_allclose(found.log_likelihood, wanted.log_likelihood, rtol=1e-12)
    # neither leaves the optimum, and both start there
    for parameters in (
        complete.maximize(wanted),
        MissingPPCA(2).maximize(found),
        MissingPPCA(2).initialize(Block(IRIS), np.random.default_rng(0)),
    ):
        assert_allclose(parameters.covariance, optimum.covariance, atol=1e-11)
        assert_allclose(parameters.mean, optimum.mean, atol=1e-11)


@pytest.mark.parametrize("expanded", [True, False])
@pytest.mark.parametrize("q", [1, 2, 3])
def test_without_gaps_em_reaches_the_closed_form(q: int, expanded: bool) -> None:
    model = MissingPPCA(q, "random", expanded=expanded)
    start = model.initialize(Block(IRIS), np.random.default_rng(0))
    run = fit(model, Block(IRIS), start, Stopping(1e-13, 20_000))
    assert np.diff(run.objectives).min() > -1e-12
    optimum = PPCA(q).initialize(Block(IRIS), np.random.default_rng(0))
    best = PPCA(q).expect(Block(IRIS), optimum).log_likelihood / len(IRIS)
    assert best - 1e-8 < run.objectives[-1] < best + 1e-11


@pytest.mark.parametrize(("share", "angle"), [(0.1, 0.02), (0.3, 0.03), (0.6, 0.06)])
def test_planted_low_rank_is_found(share: float, angle: float) -> None:
    rng = np.random.default_rng(0)
    truth = PPCAParameters(rng.normal(size=20) * 3, rng.normal(size=(20, 3)), 0.05)
    rows = gappy(draw(3000, truth, rng), share, rng)
    run = fitted(rows, 3, n=300, tol=1e-9)
    found = run.parameters
    assert subspace_angles(found.loadings, truth.loadings).max() < angle
    assert_allclose(found.noise_variance, 0.05, rtol=0.05)
    assert_allclose(found.mean, truth.mean, atol=0.15)
    assert np.diff(run.objectives).min() > -1e-11
    model = MissingPPCA(3)
    own = model.expect(Block(rows), found).log_likelihood
    assert own > model.expect(Block(rows), truth).log_likelihood
    from_anywhere = fitted(rows, 3, "random", 100, 1e-9)
    assert_allclose(from_anywhere.objectives[-1], run.objectives[-1], atol=1e-7)
    assert len(from_anywhere.objectives) < 40  # hundreds without parameter expansion


def test_no_latent_dimension_is_lost_at_the_start() -> None:
    # rows of which one half or the other is hidden: the covariances of their pairs are those of no
    # rows, and what they leave is larger than much of what they lead with
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 16)) + 0.1 * rng.normal(size=(60, 16))
    rows[:25, :9] = rows[35:, 7:] = np.nan
    found = [fitted(rows, q) for q in (2, 4, 6, 8)]
    ranks = [np.linalg.matrix_rank(one.parameters.loadings) for one in found]
    assert ranks == [2, 4, 6, 8]
    assert (np.diff([one.objectives[-1] for one in found]) > 1e-3).all()


def test_rows_with_nothing_observed_count_and_add_nothing() -> None:
    rows = at_random(50, np.random.default_rng(0))
    model = MissingPPCA(2)
    some = model.expect(Block(rows), TRUTH)
    more = model.expect(Block(np.vstack([np.full((3, 7), NAN), rows, np.full((2, 7), NAN)])), TRUTH)
    assert more.mass == 55
    assert_close(replace(more, mass=50.0), some, 1e-13)
    nothing = model.expect(Block(np.full((4, 7), NAN)), TRUTH)
    assert nothing.log_likelihood == pytest.approx(0, abs=1e-12)
    assert not any(array.any() for name, array in nothing.flatten()[1].items() if "." not in name)


def test_a_feature_that_is_never_observed_is_named() -> None:
    rows = at_random(50, np.random.default_rng(0))
    rows[:, [2, 5]] = NAN
    model = MissingPPCA(2)
    with pytest.raises(DataError, match=r"2 of 7 features are never observed: 2, 5"):
        model.initialize(Block(rows), np.random.default_rng(0))
    with pytest.raises(DataError, match=r"never observed: 2, 5"):
        model.maximize(model.expect(Block(rows), TRUTH))


def test_a_constant_feature_has_no_loadings() -> None:
    rng = np.random.default_rng(0)
    rows = gappy(np.column_stack([drawn(400, rng), np.full(400, 7.0)]), 0.2, rng)
    run = fitted(rows, 2, n=300)
    assert_allclose(run.parameters.mean[7], 7, atol=1e-3)
    assert_allclose(run.parameters.loadings[7], 0, atol=1e-2)
    assert np.diff(run.objectives).min() > -1e-11


def test_all_but_one_dimension() -> None:
    rng = np.random.default_rng(0)
    run = fitted(gappy(IRIS, 0.1, rng), 3, n=400)
    assert np.isfinite(run.objectives).all()
    assert np.diff(run.objectives).min() > -1e-11


def test_more_features_than_rows() -> None:
    rng = np.random.default_rng(0)
    rows = gappy(rng.normal(size=(12, 40)), 0.2, rng)
    run = fitted(rows, 2, n=200)
    assert np.diff(run.objectives).min() > -1e-11
    assert_allclose(
        MissingPPCA(2).expect(Block(rows), run.parameters).log_likelihood,
        log_density(rows, run.parameters).sum(),
        rtol=1e-10,
    )


def test_em_stops_at_the_floor() -> None:
    """Rows of rank 2 exactly: noise goes to zero, and the likelihood with it to infinity."""
    rng = np.random.default_rng(0)
    rows = gappy(rng.normal(size=(60, 2)) @ rng.normal(size=(2, 8)), 0.2, rng)
    model = MissingPPCA(2, "random", NoiseFloor(1e-6))
    run = fit(model, Block(rows), model.initialize(Block(rows), rng), Stopping(1e-9, 3000))
    assert np.isfinite(run.objectives).all()
    assert np.diff(run.objectives).min() > -1e-8
    assert [repair.kind for repair in model.repairs(run.parameters)] == ["singular"]
    strict = replace(model, floor=NoiseFloor(1e-6, "raise"))
    with pytest.raises(DegenerateError, match="below the floor"):
        strict.maximize(run.last.statistics)


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.parametrize("rows", [drawn, at_random])
def test_infinities_show(bad: float, rows: Callable[..., Array]) -> None:
    block = Block(rows(40, np.random.default_rng(0)))
    block.values[11, 3] = bad
    assert not np.isfinite(MissingPPCA(2).expect(block, TRUTH).log_likelihood)


@pytest.mark.parametrize("d", [3, 8, 63, 64, 65, 130])
def test_any_number_of_features_is_ordered_by_gaps(d: int) -> None:
    rng = np.random.default_rng(d)
    patterns = rng.random((5, d)) < 0.5
    missing = patterns[rng.integers(0, 5, 200)]
    order, first = ppca_gaps.pattern_order(missing)
    assert_allclose(np.sort(order), np.arange(200))
    assert first.sum() == len(np.unique(missing, axis=0))
    group = np.cumsum(first)
    for one in range(1, group[-1] + 1):
        assert len(np.unique(missing[order[group == one]], axis=0)) == 1


@pytest.mark.parametrize("q", [0, 1, 4, 9])
def test_inverses_are_those_of_lapack(q: int) -> None:
    roots = np.random.default_rng(q).normal(size=(30, q, q + 3))
    matrices = roots @ np.swapaxes(roots, 1, 2)
    mine = np.moveaxis(matrices, 0, -1).copy()
    log_determinants = ppca_gaps.inverses(mine)
    assert_allclose(np.moveaxis(mine, -1, 0), np.linalg.inv(matrices), rtol=1e-8, atol=1e-10)
    assert_allclose(log_determinants, np.linalg.slogdet(matrices)[1], atol=1e-10)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MissingPPCA(0), "n_components=0"),
        (lambda: MissingPPCA(1, "best"), "start='best'"),
        (lambda: fitted(IRIS, 4), "n_components=4 latent dimensions for 4 features"),
    ],
)
def test_bad_input(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        make()


def test_a_frame_moves_the_sums_and_not_the_step() -> None:
    rows = Block(at_random(100, np.random.default_rng(0)))
    elsewhere = replace(TRUTH, frame=Frame(np.full(7, 3.0), np.full(7, 4.0)))
    here, there = (MissingPPCA(2).expect(rows, one) for one in (TRUTH, elsewhere))
    assert_allclose(there.log_likelihood, here.log_likelihood, rtol=1e-12)
    one, other = (MissingPPCA(2).maximize(sums) for sums in (here, there))
    assert_close(replace(other, frame=one.frame), one, 1e-10)
