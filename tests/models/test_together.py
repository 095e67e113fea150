"""Candidates that share the arithmetic of an E-step, against one after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_em.core.block import Block
from dask_em.core.together import Together, TogetherParameters, expect_each
from dask_em.models.covariance import STRUCTURES, Diagonal, Full
from dask_em.models.criteria import Criteria
from dask_em.models.frame import Frame
from dask_em.models.gaussian import Gaussian
from dask_em.models.kernels import LiftedGaussianKernel
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.models.seeding import KMeans, RandomRows
from dask_em.testing.closeness import assert_close
from tests.laws.strangers import Bernoulli, Means, Poisson
from tests.models.textbook import random_parameters


def mixture(structure, k=3):
    return Mixture(Gaussian(structure), k, KMeans())


def placed(parameters, frame):
    return replace(parameters, components=replace(parameters.components, frame=frame))


def drawn(seed, n, d, structure, sizes, dtype=np.float64):
    """Rows with weights, and mixtures of several sizes whose sums are taken in one frame."""
    rng = np.random.default_rng(seed)
    candidates = [random_parameters(rng, k, d, structure) for k in sizes]
    rows = rng.normal(size=(n, d)) * 2 + 1
    frame = Frame(np.ones(d), np.full(d, 2.0))
    weights = rng.uniform(0, 2, n) * (rng.random(n) > 0.1)
    return Block(rows.astype(dtype), weights), [placed(one, frame) for one in candidates]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    structure=st.sampled_from(list(STRUCTURES.values())),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    n=st.integers(0, 200),
    d=st.integers(1, 6),
    weighted=st.booleans(),
    single=st.booleans(),
)
def test_candidates_are_as_if_alone(seed, structure, sizes, n, d, weighted, single):
    dtype = np.float32 if single else np.float64
    block, candidates = drawn(seed, n, d, structure, sizes, dtype)
    if not weighted:
        block = Block(block.values)
    model = mixture(structure)
    found = expect_each(model, block, candidates)
    for one, parameters in zip(found, candidates, strict=True):
        assert_close(one, model.expect(block, parameters), 1e-4 if single else 1e-10)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), chosen=st.sets(st.integers(0, 5), min_size=1))
def test_who_else_is_there_changes_nothing_but_rounding(seed, chosen):
    block, candidates = drawn(seed, 150, 4, Full(), [3, 1, 4, 2, 5, 3])
    model = mixture(Full())
    everybody = expect_each(model, block, candidates)
    some = expect_each(model, block, [candidates[index] for index in sorted(chosen)])
    for index, one in zip(sorted(chosen), some, strict=True):
        assert_close(one, everybody[index], 1e-10)


def test_the_same_batch_gives_the_same_bits():
    block, candidates = drawn(0, 5000, 4, Full(), [3, 2, 4])
    twice = [expect_each(mixture(Full()), block, candidates) for _ in range(2)]
    assert all(one.equals(other) for one, other in zip(*twice, strict=True))


@pytest.fixture
def made(monkeypatch):
    """The numbers of components of the kernels that are made."""
    sizes = []
    before = LiftedGaussianKernel.__init__

    def init(self, components, *rest):
        sizes.append(len(components.means))
        before(self, components, *rest)

    monkeypatch.setattr(LiftedGaussianKernel, "__init__", init)
    return sizes


def test_one_product_for_all_that_are_alike(made):
    block, candidates = drawn(0, 300, 3, Full(), [3, 2, 4])
    expect_each(mixture(Full()), block, candidates)
    assert made == [9]


def test_who_is_not_alike_goes_alone(made):
    block, (one, two, other) = drawn(0, 300, 3, Full(), [3, 2, 4])
    elsewhere = placed(other, Frame(np.full(3, 5.0), np.full(3, 2.0)))
    narrow = np.eye(3) * 1e-14  # to be centred, or digits are lost
    lost = replace(two, components=replace(two.components, covariances=np.stack([narrow] * 2)))
    model = mixture(Full())
    found = expect_each(model, block, [one, elsewhere, two, lost])
    assert sorted(made) == [4, 5]
    for statistics, parameters in zip(found, [one, elsewhere, two, lost], strict=True):
        assert_close(statistics, model.expect(block, parameters), 1e-10)
    assert found[3].equals(model.expect(block, lost))


def test_a_shared_covariance_is_not_stacked(made):
    block, candidates = drawn(0, 300, 3, STRUCTURES["tied"], [3, 2])
    expect_each(mixture(STRUCTURES["tied"]), block, candidates)
    assert made == [3, 2]


def test_alignment_moves_where_sums_are_taken_and_nothing_else():
    block, (one, other) = drawn(0, 300, 3, Full(), [3, 3])
    other = placed(other, Frame(np.full(3, 5.0), np.full(3, 2.0)))
    model = mixture(Full())
    moved = model.aligned(other, one)
    assert moved.components.place.equals(one.components.place)
    assert_close(
        model.maximize(model.expect(block, moved)).components,
        replace(model.maximize(model.expect(block, other)).components, frame=one.components.place),
        1e-9,
    )


@pytest.mark.parametrize(("emission", "most"), [(Bernoulli(), 1), (Poisson(), 5)])
def test_families_of_others_are_stacked_too(emission, most):
    rng = np.random.default_rng(0)
    rows = Block(rng.integers(0, most + 1, (200, 4)).astype(float), rng.uniform(0, 2, 200))
    model = Mixture(emission, 3, RandomRows())
    candidates = [
        MixtureParameters(rng.dirichlet(np.ones(k)), Means(rng.uniform(0.1, 0.9, (k, 4))))
        for k in (2, 3, 1)
    ]
    keys = {emission.alike(one.components, rows.values.dtype) for one in candidates}
    assert len(keys) == 1
    assert keys != {None}
    for one, parameters in zip(model.expect_each(rows, candidates), candidates, strict=True):
        assert_close(one, model.expect(rows, parameters), 1e-10)


def test_together_stacks_mixtures_of_one_emission(made):
    block, candidates = drawn(0, 300, 3, Full(), [3, 2, 4])
    _, (diagonal,) = drawn(0, 300, 3, Diagonal(), [2])
    models = (mixture(Full(), 3), mixture(Diagonal(), 2), mixture(Full(), 2), mixture(Full(), 4))
    parameters = (candidates[0], diagonal, *candidates[1:])
    found = Together(models).expect(block, TogetherParameters(parameters))
    assert made == [9, 2]
    for model, one, statistics in zip(models, parameters, found.members, strict=True):
        assert_close(statistics, model.expect(block, one), 1e-10)


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_criteria_against_the_responsibilities(structure):
    block, (parameters,) = drawn(1, 400, 3, structure, [3])
    model = mixture(structure)
    found = Criteria.of(model, parameters, model.expect(block, parameters))
    shares, log_density = model.posterior(block, parameters)
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
    assert found.entropy == pytest.approx(block.weights @ entropy, rel=1e-9)
    log_likelihood = block.weights @ log_density
    n_free = model.n_free_parameters(parameters)
    bic = n_free * np.log(block.mass) - 2 * log_likelihood
    assert found.bic == pytest.approx(bic, rel=1e-12)
    assert found.aic == pytest.approx(2 * n_free - 2 * log_likelihood, rel=1e-12)
    assert found.icl == pytest.approx(bic + 2 * block.weights @ entropy, rel=1e-12)


def test_entropy_is_unknown_without_a_geometry():
    rows = Block(np.ones((5, 2)))
    model = Mixture(Bernoulli(), 1, RandomRows())
    parameters = MixtureParameters(np.ones(1), Means(np.full((1, 2), 0.5)))
    assert np.isnan(Criteria.of(model, parameters, model.expect(rows, parameters)).icl)
