"""Never a NaN and never a lost fit: what becomes of components that collapse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dask_em import GaussianMixture
from dask_em.core.block import Block
from dask_em.core.model import Repair
from dask_em.errors import DegenerateError
from dask_em.models.covariance import STRUCTURES, Full, Structure
from dask_em.models.gaussian import Gaussian, Gaussians
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.models.seeding import KMeans

RNG = np.random.default_rng(0)
#: two clusters, 100 rows each
ROWS = np.vstack([RNG.normal(size=(100, 2)), RNG.normal(size=(100, 2)) + 8])
#: and 60 times the same row
COPIES = np.vstack([ROWS, np.full((60, 2), 20.0)])
FLAT = np.column_stack([ROWS, np.full(200, 5.0)])

EMPTY = np.array([[0.0, 0.0], [8.0, 8.0], [1e3, 1e3]])
TWINS = np.array([[0.0, 0.0], [8.0, 8.0], [8.0, 8.0]])


def mixture(policy: str, structure: Structure | None = None) -> Mixture:
    emission = Gaussian(structure or Full(), repair=policy != "raise")
    return Mixture(emission, 3, KMeans(), policy)


def start(means: np.ndarray, structure: Structure | None = None) -> MixtureParameters:
    structure = structure or Full()
    k, d = means.shape
    covariances = np.broadcast_to(
        np.eye(d) if len(structure.shape(k, d)) > 1 and structure.name != "diag" else 1.0,
        structure.shape(k, d),
    ).copy()
    return MixtureParameters(np.full(k, 1 / k), Gaussians(means, covariances, structure))


def m_step(policy: str, means: np.ndarray, structure: Structure | None = None) -> MixtureParameters:
    model = mixture(policy, structure)
    return model.maximize(model.expect(Block(ROWS), start(means, structure)))


def assert_finite(model: GaussianMixture, rows: np.ndarray) -> None:
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert np.isfinite(getattr(model, name)).all(), name
    assert np.isfinite(model.lower_bounds_).all()
    assert np.isfinite(model.score_samples(rows)).all()
    assert_allclose(model.predict_proba(rows).sum(axis=1), 1, atol=1e-12)
    assert_allclose(model.weights_.sum(), 1, atol=1e-12)


def blamed(model: GaussianMixture) -> set[tuple[int | None, int | None]]:
    """The components and features that were singular."""
    repairs = [repair for record in model.history_ for repair in record.repairs]
    assert {repair.kind for repair in repairs} == {"singular"}
    return {(repair.component, repair.feature) for repair in repairs}


@pytest.mark.parametrize("name", STRUCTURES)
def test_an_empty_component_is_found(name: str) -> None:
    parameters = m_step("repair", EMPTY, STRUCTURES[name])
    assert ("empty", 2) in {(repair.kind, repair.component) for repair in parameters.repaired}
    assert parameters.k == 3
    assert np.isfinite(parameters.components.means).all()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_duplicate_component_is_found(name: str) -> None:
    (repair,) = m_step("repair", TWINS, STRUCTURES[name]).repaired
    assert repair == Repair("duplicate", 2, None, "left as it is")


def test_a_component_that_is_merely_near_another_is_none() -> None:
    assert m_step("repair", TWINS + np.array([[0], [0], [1e-3]])).repaired == ()


def test_a_single_row_is_enough() -> None:
    rows = np.vstack([ROWS, [[1e3, 1e3]]])
    model = mixture("repair")
    parameters = model.maximize(model.expect(Block(rows), start(EMPTY)))
    assert {repair.kind for repair in parameters.repaired} == {"singular"}


def test_rows_are_counted_in_units_of_their_mean_weight() -> None:
    model = mixture("repair")
    light = model.expect(Block(ROWS, np.full(200, 1e-6)), start(ROWS[[0, 100, 1]]))
    assert model.maximize(light).repaired == ()


@pytest.mark.parametrize("means", [EMPTY, TWINS], ids=["empty", "duplicate"])
def test_drop_leaves_the_others_as_they_are(means: np.ndarray) -> None:
    dropped, repaired = m_step("drop", means), m_step("repair", means)
    assert dropped.k == 2
    kept: Any = dropped.components
    assert kept.means.shape == (2, 2)
    assert_allclose(kept.means, repaired.components.means[:2])  # type: ignore[attr-defined]
    assert_allclose(dropped.weights.sum(), 1)
    assert {repair.component for repair in dropped.repaired} == {2}


def test_raise_says_which_and_what_to_do() -> None:
    with pytest.raises(DegenerateError, match="component 2 is duplicate; use fewer comp.*degener"):
        m_step("raise", TWINS)
    with pytest.raises(DegenerateError, match="ill-defined empirical covariance.*component 2"):
        m_step("raise", EMPTY)


def test_nothing_is_left_to_drop() -> None:
    same = Block(np.full((10, 2), 3.0))
    model = mixture("drop")
    with pytest.raises(DegenerateError, match='all 3 components are degenerate.*degenerate="rep'):
        model.maximize(model.expect(same, start(np.full((3, 2), 3.0))))


def test_reseed_moves_to_the_worst_explained_rows() -> None:
    rows = np.vstack([ROWS, [[30.0, -30.0]]])
    model, parameters = mixture("repair"), m_step("repair", TWINS)
    moved = model.reseed(parameters, Block(rows))
    components: Any = moved.components
    assert components.means[2].tolist() == [30.0, -30.0]
    assert_allclose(components.means[:2], parameters.components.means[:2])  # type: ignore[attr-defined]
    assert_allclose(moved.weights.sum(), 1)
    assert moved.weights[2] > 0.2


def test_reseed_passes_over_rows_without_weight() -> None:
    rows = np.vstack([ROWS, [[30.0, -30.0]]])
    weights = np.append(np.ones(200), 0.0)
    moved = mixture("repair").reseed(m_step("repair", TWINS), Block(rows, weights))
    assert moved.components.means[2].max() < 20  # type: ignore[attr-defined]


@pytest.mark.parametrize("policy", ["drop", "raise"])
def test_reseed_is_for_repair_alone(policy: str) -> None:
    parameters = m_step("drop", TWINS)
    assert mixture(policy).reseed(parameters, Block(ROWS)) is parameters


@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_copies_of_a_row_are_repaired(name: str) -> None:
    components: Any = start(EMPTY, STRUCTURES[name]).components
    model = GaussianMixture(
        3,
        covariance_type=name,
        reg_covar=0,
        weights_init=[0.4, 0.4, 0.2],
        means_init=[[0, 0], [8, 8], [20, 20]],
        precisions_init=components.covariances,
    ).fit(COPIES)
    assert model.converged_
    assert_finite(model, COPIES)
    assert model.weights_[2] == pytest.approx(60 / 260)
    assert_allclose(model.means_[2], 20)
    first, second = [record for record in model.history_ if record.kind == "em"][:2]
    assert first.repairs == ()
    (repair,) = second.repairs
    assert second.iteration == 1
    assert (repair.kind, repair.component) == ("singular", 2)
    assert repair.feature in (0, 1)
    assert "eigenvalues raised to 1e-13" in repair.action


def test_the_floor_is_relative_to_the_scale_of_the_data() -> None:
    options: dict[str, Any] = {
        "reg_covar": 0.0,
        "random_state": 0,
        "means_init": [[0, 0], [8, 8], [20, 20]],
    }
    one = GaussianMixture(3, **options).fit(COPIES)
    tiny = 2.0**-80
    options["means_init"] = tiny * np.array(options["means_init"])
    other = GaussianMixture(3, **options).fit(COPIES * tiny)
    assert_allclose(other.covariances_ / tiny**2, one.covariances_, rtol=1e-6)
    assert_allclose(other.weights_, one.weights_)


def test_a_constant_feature_is_blamed() -> None:
    model = GaussianMixture(2, reg_covar=0, random_state=0).fit(FLAT)
    assert_finite(model, FLAT)
    assert blamed(model) == {(0, 2), (1, 2)}
    assert_allclose(model.weights_, 0.5)


@pytest.mark.parametrize("policy", ["repair", "drop"])
def test_a_shared_covariance_is_nobodys_fault(policy: str) -> None:
    model = GaussianMixture(
        2, covariance_type="tied", reg_covar=0, degenerate=policy, random_state=0
    ).fit(FLAT)
    assert_finite(model, FLAT)
    assert len(model.weights_) == 2
    assert blamed(model) == {(None, 2)}


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("reg_covar", [0.0, 1e-6])
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_rows_that_are_all_the_same(name: str, reg_covar: float) -> None:
    rows = np.full((30, 2), 3.0)
    model = GaussianMixture(2, covariance_type=name, reg_covar=reg_covar, random_state=0).fit(rows)
    assert_finite(model, rows)
    assert_allclose(model.means_, 3)


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_fit_moves_an_empty_component(name: str) -> None:
    model = GaussianMixture(
        3, covariance_type=name, means_init=EMPTY, tol=1e-5, random_state=0
    ).fit(ROWS)
    assert_finite(model, ROWS)
    assert model.means_.max() < 20
    events = [(r.kind, r.component) for record in model.history_ for r in record.repairs]
    assert ("empty", 2) in events


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_fit_drops_an_empty_component(name: str) -> None:
    model = GaussianMixture(
        3, covariance_type=name, reg_covar=0, means_init=EMPTY, degenerate="drop", random_state=0
    ).fit(ROWS)
    assert_finite(model, ROWS)
    assert_allclose(model.weights_, [0.5, 0.5], atol=1e-3)
    assert_allclose(np.sort(model.means_[:, 0]), [0, 8], atol=0.3)
    assert len(model.predict_proba(ROWS[:5])[0]) == 2


def test_a_fit_that_may_not_repair() -> None:
    options = {"reg_covar": 0.0, "degenerate": "raise", "random_state": 0}
    with pytest.raises(DegenerateError, match="ill-defined empirical covariance"):
        GaussianMixture(3, means_init=[[0, 0], [8, 8], [20, 20]], **options).fit(COPIES)
    with pytest.raises(DegenerateError, match="component 2 is empty"):
        GaussianMixture(3, means_init=EMPTY, covariance_type="tied", **options).fit(ROWS)


def test_a_component_per_row() -> None:
    rows = ROWS[:5]
    model = GaussianMixture(5, reg_covar=0, random_state=0).fit(rows)
    assert_finite(model, rows)
    assert sorted(model.predict(rows)) == [0, 1, 2, 3, 4]
    assert_allclose(model.weights_, 0.2)


def test_a_covariance_that_is_given_must_be_positive() -> None:
    parameters = MixtureParameters(
        np.ones(1), Gaussians(np.zeros((1, 2)), np.array([[[1.0, 2.0], [2.0, 1.0]]]))
    )
    with pytest.raises(DegenerateError, match="ill-defined empirical covariance"):
        mixture("repair").expect(Block(ROWS), parameters)


def test_weights_of_zero_do_not_make_infinities() -> None:
    parameters = MixtureParameters(np.array([1.0, 0.0, 0.0]), start(EMPTY).components)
    sums = mixture("repair").expect(Block(ROWS), parameters)
    assert np.isfinite(sums.log_likelihood)
