"""The fast ways to the sums of an E-step against the plain one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from dask_em.core.block import Block
from dask_em.models.covariance import STRUCTURES, Full, Structure
from dask_em.models.emission import Emission
from dask_em.models.gaussian import Gaussian, Gaussians
from dask_em.models.kernels import CentredKernel, LiftedGaussianKernel
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.models.seeding import KMeans
from tests.models import textbook
from tests.models.textbook import CentredGaussian, LiftedGaussian, random_parameters

KINDS = {"lifted": LiftedGaussian, "centred": CentredGaussian}
structures = st.sampled_from(list(STRUCTURES.values()))


def mixture(emission: Emission[Any, Any], parameters: MixtureParameters) -> Mixture:
    return Mixture(emission, parameters.k, KMeans())


def drawn(
    seed: int, n: int, k: int, d: int, structure: Structure
) -> tuple[Block, MixtureParameters]:
    """Rows and weights, and parameters near but not at what they were drawn from."""
    rng = np.random.default_rng(seed)
    parameters = random_parameters(rng, k, d, structure)
    rows, _ = mixture(Gaussian(structure), parameters).sample(n, parameters, rng)
    weights = rng.uniform(0, 2, n)
    weights[rng.random(n) < 0.1] = 0
    return Block(rows + 0.3 * rng.normal(size=d), weights), parameters


def assert_same_step(
    model: Mixture, block: Block, parameters: MixtureParameters, plain: textbook.Step, rtol: float
) -> None:
    """An E-step and the M-step that follows, against the textbook's."""
    sums = model.expect(block, parameters)
    found: Any = model.maximize(sums).components
    size = np.abs(block.values).max() ** 2 + 1
    atol = rtol * block.mass
    assert_allclose(sums.log_likelihood, plain.log_likelihood, rtol=rtol, atol=atol)
    assert_allclose(sums.counts, plain.counts, rtol=0, atol=atol)
    # a component of few rows is known that much worse
    known = (plain.counts / block.mass)[:, None]
    assert_allclose(known * found.means, known * plain.means, rtol=0, atol=rtol * size)
    if not found.structure.shared:
        known = known.reshape(-1, *[1] * (found.covariances.ndim - 1))
    else:
        known = np.ones(())
    assert_allclose(known * found.covariances, known * plain.covariances, rtol=0, atol=rtol * size)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    structure=structures,
    n=st.integers(30, 150),
    k=st.integers(1, 5),
    d=st.integers(1, 6),
    weighted=st.booleans(),
    single=st.booleans(),
)
def test_kernels_agree_with_the_textbook(
    seed: int, structure: Structure, n: int, k: int, d: int, weighted: bool, single: bool
) -> None:
    block, parameters = drawn(seed, n, k, d, structure)
    if not weighted:
        block = Block(block.values)
    if single:
        block = replace(block, values=block.values.astype(np.float32))
    plain = textbook.step(block, parameters)
    for kind in KINDS.values():
        model = mixture(kind(structure), parameters)
        assert_same_step(model, block, parameters, plain, 2e-4 if single else 1e-11)
        shares, log_density = model.posterior(block, parameters)
        atol = 2e-3 if single else 1e-10
        assert_allclose(shares, plain.shares, rtol=0, atol=atol)
        assert_allclose(log_density, plain.log_density, rtol=atol, atol=atol)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
def test_rows_beside_the_edges_of_tiles(name: str, kind: str, single: bool) -> None:
    structure = STRUCTURES[name]
    model_kind = KINDS[kind](structure)
    block, parameters = drawn(1, 17_000, 2, 2, structure)
    dtype = np.dtype(np.float32 if single else np.float64)
    block = replace(block, values=block.values.astype(dtype))
    model = mixture(model_kind, parameters)
    tile = model_kind.prepare(parameters.components, parameters.weights, dtype, 10**6).tile_rows
    assert tile < 10_000, "nothing is tiled"
    whole = textbook.step(block, parameters)
    _, log_density = model.posterior(block, parameters)
    assert_allclose(log_density, whole.log_density, atol=2e-3 if single else 1e-11)
    for n in (1, tile - 1, tile, tile + 1, 2 * tile, 2 * tile + 3):
        part = block.take(slice(0, n))
        assert part.weights is not None
        sums = model.expect(part, parameters)
        expected = float(part.weights @ whole.log_density[:n])
        assert_allclose(sums.log_likelihood, expected, rtol=1e-5 if single else 1e-12)
        counts = part.weights @ whole.shares[:n]
        assert_allclose(sums.counts, counts, rtol=1e-4 if single else 1e-11)


@pytest.mark.parametrize(
    ("d", "k", "dtype", "name"),
    [
        # above 31 features, large products are taken row by row
        (32, 8, np.float64, "lifted"),
        (48, 12, np.float64, "lifted"),
        (48, 12, np.float32, "lifted"),
        # d (d + 1) / 2 products a row for the sake of few components do not pay
        (96, 3, np.float64, "centred"),
        (96, 3, np.float32, "centred"),
    ],
)
def test_wide_rows(d: int, k: int, dtype: type, name: str) -> None:
    rng = np.random.default_rng(d)
    parameters = random_parameters(rng, k, d, Full())
    rows = Block(rng.normal(size=(700, d)).astype(dtype))
    model = mixture(Gaussian(), parameters)
    assert model.kernel_name(parameters, np.dtype(dtype)) == name
    plain = textbook.step(rows, parameters)
    for kind in KINDS.values():
        sums = mixture(kind(), parameters).expect(rows, parameters)
        rtol = 1e-10 if dtype == np.float64 else 1e-4
        assert_allclose(sums.log_likelihood, plain.log_likelihood, rtol=rtol)
        assert_allclose(sums.counts, plain.counts, rtol=0, atol=10 * rtol * len(rows))


@pytest.mark.parametrize("name", ["tied", "diag", "spherical"])
def test_only_full_covariances_are_ever_too_wide(name: str) -> None:
    structure = STRUCTURES[name]
    parameters = random_parameters(np.random.default_rng(0), 3, 120, structure)
    model = mixture(Gaussian(structure), parameters)
    assert model.kernel_name(parameters, np.dtype(float)) == "lifted"


def far_apart(width: float, structure: Structure) -> tuple[Block, MixtureParameters]:
    """Two clusters of a width, apart by 1."""
    rng = np.random.default_rng(8)
    means = np.array([[0.0, 0.0], [0.8, 0.6]])
    noise = rng.normal(size=(2, 400, 2)) @ np.array([[1.0, 0.4], [0.0, 0.8]])
    rows = (means[:, None] + width * noise).reshape(-1, 2)
    covariances = textbook.restricted(
        np.stack([width**2 * np.eye(2)] * 2), np.ones(2), structure.name
    )
    return Block(rows), MixtureParameters(
        np.array([0.5, 0.5]), Gaussians(means + 0.1 * width, covariances, structure)
    )


def covariance_error(emission: Gaussian, width: float) -> float:
    block, parameters = far_apart(width, emission.structure)
    model = mixture(emission, parameters)
    found: Any = model.maximize(model.expect(block, parameters)).components
    expected = textbook.step(block, parameters).covariances
    return float(np.abs(found.covariances - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("width", [1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_narrow_clusters_far_apart_keep_their_digits(width: float, name: str) -> None:
    structure = STRUCTURES[name]
    _, parameters = far_apart(width, structure)
    model = mixture(Gaussian(structure), parameters)
    expected = "lifted" if width >= 1e-3 else "centred"
    assert model.kernel_name(parameters, np.dtype(float)) == expected
    assert covariance_error(Gaussian(structure, floor=0.0), width) < 1e-8


def test_the_guard_is_needed() -> None:
    assert covariance_error(LiftedGaussian(floor=0.0), 1e-5) > 1e-8
    assert covariance_error(CentredGaussian(floor=0.0), 1e-5) < 1e-9


@pytest.mark.parametrize(
    ("width", "tile", "kind"),
    [
        (1e-1, np.float32, LiftedGaussianKernel),
        (1e-3, np.float64, LiftedGaussianKernel),
        (1e-5, np.float64, CentredKernel),
    ],
)
def test_float32_rows_get_the_tiles_that_keep_their_digits(
    width: float, tile: type, kind: type
) -> None:
    _, parameters = far_apart(width, Full())
    components: Any = parameters.components
    kernel: Any = Gaussian().prepare(components, parameters.weights, np.dtype(np.float32), 100)
    assert type(kernel) is kind
    assert kernel.joint.dtype == tile


def test_a_cluster_far_from_zero_is_not_ill_conditioned() -> None:
    components = Gaussians(np.array([[1e8, -1e8]]), np.eye(2)[None])
    assert components.condition < 1e3
    assert Gaussian().prepare(components, np.ones(1), np.dtype(float), 1).name == "lifted"


def test_an_eigenvalue_that_is_lost_to_rounding_has_no_finite_condition() -> None:
    beyond = 1.0 + 1e-9
    means = np.zeros((8, 2))
    means[0] = 100.0  # one of several that lies apart is far from the origin of the frame
    covariances = np.tile([[1.0, beyond], [beyond, 1.0]], (8, 1, 1))
    assert Gaussians(means, covariances).condition == np.inf  # and no warning of an overflow
