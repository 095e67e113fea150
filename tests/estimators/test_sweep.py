"""Many mixtures in the passes of one."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

import dask_em
from dask_em import DegenerateError, GaussianMixture, InputError, Outcome, Stopping, sweep
from dask_em.core.em import fit as fit_block
from dask_em.engine.first import FirstPass
from dask_em.engine.many import fit_many
from dask_em.engine.monitor import Monitor
from dask_em.engine.passes import Passes
from dask_em.engine.runner import LocalRunner
from dask_em.engine.stream import Reading
from dask_em.estimators.rows import open_rows
from dask_em.estimators.sweep import Sweep
from dask_em.models.gaussian import Gaussian
from dask_em.models.mixture import Mixture
from dask_em.models.seeding import KMeans
from tests.engine.sources import MadeSource, Script, overlapping

CENTRES = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 5.0]])


def rows(n=3000, seed=0):
    """Three clusters, each stretched along both features."""
    rng = np.random.default_rng(seed)
    stretched = rng.normal(size=(n, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    return stretched + CENTRES[rng.integers(3, size=n)]


@pytest.fixture
def small_sample(monkeypatch):
    monkeypatch.setattr("dask_em.engine.sample.SAMPLE_ROWS", 1000)


def nbytes(found: Sweep) -> int:
    return sum(record.nbytes for record in found.history)


def test_finds_what_was_planted():
    found = sweep(rows(), range(1, 6), random_state=0)
    best = found.best_candidate
    assert (best.n_components, best.covariance_type) == (3, "full")
    assert found.best.n_components == len(found.best.weights_) == 3
    assert found.best.covariance_type == "full"
    means = sorted(found.best.means_.tolist(), key=lambda mean: mean[0] - mean[1])
    assert_allclose(means, CENTRES[[2, 0, 1]], atol=0.15)
    names = [(one.covariance_type, one.n_components) for one in found.candidates]
    assert names == [(c, k) for c in ("full", "diag") for k in range(1, 6)]


def test_the_numbers_are_those_of_the_model_beside_them():
    data = rows()
    for criterion in ("bic", "aic", "icl"):
        found = sweep(data, (2, 3), criterion=criterion, random_state=0)
        best, model = found.best_candidate, found.best
        assert getattr(best, criterion) == min(getattr(one, criterion) for one in found.candidates)
        assert model.bic(data) == pytest.approx(best.bic, rel=1e-12)
        assert model.aic(data) == pytest.approx(best.aic, rel=1e-12)
        shares = model.predict_proba(data)
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum()
        assert best.icl == pytest.approx(best.bic + 2 * entropy, rel=1e-12)
        assert model.lower_bound_ == best.log_likelihood == model.history_[-1].objective
        assert model.n_iter_ == best.n_passes
        assert best.n_parameters == model._n_parameters()


def test_agrees_with_fits_one_by_one():
    data = rows()
    found = sweep(data, (1, 2, 3), covariance_type="diag", tol=1e-9, max_iter=1000, random_state=0)
    for one in found.candidates:
        alone = GaussianMixture(
            one.n_components, covariance_type="diag", tol=1e-9, max_iter=1000, random_state=0
        )
        assert alone.fit(data).lower_bound_ == pytest.approx(one.log_likelihood, abs=1e-6)


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize(("algorithm", "kinds"), [("em", 4), ("accelerated", 2)])
def test_reads_as_often_as_the_slowest_alone(algorithm, kinds):
    source = MadeSource(rows(4000), 400)
    options = {"covariance_type": "full", "random_state": 0, "tol": 1e-5, "max_iter": 60}
    options["algorithm"] = algorithm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = sweep(source, range(1, 9), n_init=3, **options)
        slowest = max(found.candidates, key=lambda one: one.n_passes)
        alone = sweep(source, slowest.n_components, n_init=3, **options)
    assert len(found.candidates) == 24
    assert len({one.n_passes for one in found.candidates}) >= kinds
    assert nbytes(found) / nbytes(alone) <= 1.1
    assert len(found.history) == 1 + slowest.n_passes
    for one in alone.candidates:  # a start does not depend on the company
        other = next(
            two
            for two in found.candidates
            if (two.n_components, two.init) == (one.n_components, one.init)
        )
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-7)


@pytest.mark.usefixtures("small_sample")
def test_a_member_that_has_converged_is_evaluated_no_more(monkeypatch):
    evaluated = []
    before = Mixture.expect_each

    def watched(self, block, candidates):
        evaluated.append(len(candidates))
        return before(self, block, candidates)

    monkeypatch.setattr(Mixture, "expect_each", watched)
    source = MadeSource(rows(), 3000)  # one block to the pass
    found = sweep(
        source, range(1, 7), covariance_type="full", tol=1e-5, random_state=0, algorithm="em"
    )
    expected = [
        sum(one.n_passes > done for one in found.candidates)
        for done in range(len(found.history) - 1)
    ]
    assert evaluated == expected
    assert evaluated[0] == 6
    assert evaluated[-1] < 6


@pytest.mark.usefixtures("small_sample")
def test_mixtures_of_one_structure_go_in_one_product(monkeypatch):
    from dask_em.models.kernels import LiftedGaussianKernel

    source = MadeSource(rows(), 3000)
    sizes = []
    before = LiftedGaussianKernel.log_joint

    def watched(self, values):
        sizes.append(len(self.theta))
        return before(self, values)

    def only_in_passes(*_):
        sizes.clear()

    monkeypatch.setattr(LiftedGaussianKernel, "log_joint", watched)
    monkeypatch.setattr(Monitor, "begin", only_in_passes)
    # each start is made from other rows, and would take its sums elsewhere
    monkeypatch.setattr("dask_em.models.seeding.MOST_ROWS", 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        sweep(source, range(1, 5), max_iter=1, tol=0, random_state=0, algorithm="em")
    assert set(sizes) == {1 + 2 + 3 + 4}


@pytest.mark.usefixtures("small_sample")
def test_starts_converge_on_the_sample_first():
    source = MadeSource(rows(), 300)
    with pytest.warns(ConvergenceWarning):
        found = sweep(
            source, 5, covariance_type="full", tol=1e-5, max_iter=1, random_state=0, algorithm="em"
        )
    reading = Reading(source.schema)
    passes = Passes(found.best._model, source, LocalRunner(), reading, Monitor())
    sample = FirstPass(passes, None).sample()
    assert len(sample) == 1000
    steps = fit_block(found.best._model, sample, found.best._parameters, Stopping(0, 2))
    assert 0 <= steps.objectives[1] - steps.objectives[0] < 1e-5


def test_few_passes_where_em_needs_many():
    source = MadeSource(overlapping(), 3000)
    options = {"covariance_type": "full", "random_state": 0, "max_iter": 60}
    few = sweep(source, (2, 3), **options)
    with pytest.warns(ConvergenceWarning):
        many = sweep(source, (2, 3), algorithm="em", tol=1e-9, **options)
    assert all(one.converged for one in few.candidates)
    assert len(few.history) < 12 < len(many.history)
    for one, other in zip(few.candidates, many.candidates, strict=True):
        assert one.log_likelihood > other.log_likelihood - 1e-6
    assert {record.step for record in few.best.history_[2:]} <= {"corrected", "em", "rejected"}
    assert few.best.history_[-1].gap is not None


def test_a_cache_serves_all_members():
    source = MadeSource(overlapping(), 3000)
    options = {"covariance_type": "full", "random_state": 0}
    kept = sweep(source, (2, 3), cache=10**9, **options)
    assert [record.nbytes for record in kept.history[1:]] == [0] * (len(kept.history) - 1)
    assert kept.to_dicts() == sweep(source, (2, 3), **options).to_dicts()


def test_a_sample_of_all_rows_is_confirmed_in_one_pass():
    found = sweep(MadeSource(rows(), 300), (3, 5), random_state=0, tol=1e-6, max_iter=1000)
    assert [record.kind for record in found.history] == ["first", "em"]
    assert all(one.converged for one in found.candidates)


def collapsing():
    """A cluster, and one row repeated far away: the second component finds no spread."""
    return np.vstack([np.random.default_rng(0).normal(size=(400, 2)), np.full((100, 2), 40.0)])


def test_a_member_that_degenerates_leaves_the_others_alone():
    options = {"covariance_type": "full", "degenerate": "raise", "reg_covar": 0.0}
    found = sweep(collapsing(), range(1, 4), random_state=0, **options)
    one, two, three = found.candidates
    for failed in (two, three):
        assert "ill-defined" in failed.failure
        assert np.isnan([failed.log_likelihood, failed.bic, failed.aic, failed.icl]).all()
        assert (failed.converged, failed.n_parameters) == (False, 0)
    assert one.failure is None
    assert found.best.n_components == 1
    alone = sweep(collapsing(), 1, random_state=0, **options)
    assert alone.candidates[0].log_likelihood == pytest.approx(one.log_likelihood, rel=1e-12)


@pytest.mark.usefixtures("small_sample")
def test_a_member_that_degenerates_between_passes(monkeypatch):
    before = Mixture.maximize

    def failing(self, statistics):
        if statistics.mass == 3000 and len(statistics.counts) == 3:
            raise DegenerateError("component 1 is singular (scripted)")
        return before(self, statistics)

    monkeypatch.setattr(Mixture, "maximize", failing)
    found = sweep(
        MadeSource(rows(), 300),
        (2, 3, 4),
        covariance_type="full",
        random_state=0,
        tol=1e-4,
        algorithm="em",
    )
    assert found.candidates[1].failure == "component 1 is singular (scripted)"
    assert found.candidates[1].n_passes == 1
    assert found.candidates[0].converged
    assert found.candidates[2].converged
    assert "scripted" in str(found)


def test_when_all_fail_the_reason_is_said():
    with pytest.raises(DegenerateError, match="none of the 2 mixtures.*n_components = 900"):
        sweep(rows(20), (900, 901), covariance_type="diag")


def test_more_components_than_rows_is_one_members_failure():
    found = sweep(rows(20), (1, 900), covariance_type="diag", random_state=0)
    assert "n_components = 900" in found.candidates[1].failure
    assert found.best.n_components == 1


def test_bad_rows_are_an_error_as_in_a_fit():
    data = rows()
    data[7, 1] = np.nan
    with pytest.raises(dask_em.DataError, match="1 of 3000 rows"):
        sweep(data, (1, 2))
    found = sweep(data, (1, 2), missing="drop", random_state=0)
    assert [record.dropped for record in found.history] == [1] * len(found.history)
    assert found.best.missing == "drop"


def test_bad_chunks_are_skipped_and_told():
    source = MadeSource(rows(), 300, script=Script(2, "fail"))
    with pytest.warns(UserWarning, match="1 chunk could not be read.*sweep again"):
        found = sweep(source, (1, 2), on_bad_chunk="skip", random_state=0)
    assert found.history[-1].rows == 2700


def test_weights_count():
    data = rows()
    twice = np.r_[np.full(1500, 2.0), np.zeros(1500)]
    weighted = sweep(data, (2, 3), sample_weight=twice, tol=1e-8, max_iter=500, random_state=0)
    repeated = sweep(np.repeat(data[:1500], 2, 0), (2, 3), tol=1e-8, max_iter=500, random_state=0)
    for one, other in zip(weighted.candidates, repeated.candidates, strict=True):
        assert one.bic == pytest.approx(other.bic, rel=1e-6)
        assert one.icl == pytest.approx(other.icl, rel=1e-4)


def test_unfinished_best_is_warned_of():
    with pytest.warns(ConvergenceWarning, match="did not converge in 2 passes"):
        found = sweep(MadeSource(rows(), 300), 3, max_iter=2, tol=0, random_state=0)
    assert found.best.outcome_ is Outcome.ITERATION_LIMIT
    assert not found.best.converged_
    assert found.best_candidate.n_passes == 2


def test_the_same_seed_gives_the_same_bits():
    one, other = (
        sweep(MadeSource(rows(), 300), (2, 6), n_init=2, random_state=3) for _ in range(2)
    )
    assert one.to_dicts() == other.to_dicts()
    assert (one.best.means_ == other.best.means_).all()
    full = [c for c in one.candidates if c.covariance_type == "full" and c.n_components == 6]
    assert len(full) == len({c.log_likelihood for c in full}) == 2


def test_the_best_model_is_saved_and_goes_on(tmp_path):
    data = rows()
    found = sweep(data, (2, 3), random_state=0)
    found.best.save(tmp_path / "best")
    again = dask_em.load(tmp_path / "best")
    assert (again.predict(data) == found.best.predict(data)).all()
    assert again.history_ == found.best.history_


def test_history_is_told_once_for_each_pass():
    class Seen(Monitor):
        def __init__(self):
            self.begun, self.ended = [], []

        def begin(self, kind, iteration, n_tasks):
            self.begun.append((kind, iteration))

        def end(self, record):
            self.ended.append(record)

    seen = Seen()
    found = sweep(MadeSource(rows(), 300), (2, 3), random_state=0, monitor=seen)
    assert tuple(seen.ended) == found.history
    assert seen.begun == [(record.kind, record.iteration) for record in found.history]
    highest = max(one.log_likelihood for one in found.candidates)
    assert found.history[-1].objective <= highest


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"criterion": "aicc"}, "criterion='aicc'.*bic"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"n_components": []}, "leave nothing to fit"),
        ({"n_components": 0}, "n_components.*must be an int in the range"),
        ({"covariance_type": "round"}, "covariance_type.*must be a str among"),
        ({"n_init": 0}, "n_init.*must be an int in the range"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        sweep(rows(100), **options)
    if "criterion" in options:
        with pytest.raises(InputError):
            sweep(rows(100), **options)


def test_tables():
    pandas = pytest.importorskip("pandas")
    found = sweep(rows(), (2, 3, 3), random_state=0)  # each once
    frame = found.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 4
    assert frame["bic"].idxmin() == frame["n_components"].eq(3).idxmax()
    text = str(found)
    assert text.count("*") == 2  # in the title, and beside the best
    assert "by BIC" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_models_of_any_kind_share_passes():
    from tests.laws.strangers import Exponential

    waits = np.abs(rows())[:, :1]
    models = [Exponential(), Mixture(Gaussian(), 2, KMeans())]
    rngs = [np.random.default_rng(i) for i in range(2)]
    found = fit_many(models, MadeSource(waits, 300), rngs)
    exponential, mixture = found.members
    assert exponential.converged
    assert exponential.last.parameters.rate == pytest.approx(1 / waits.mean(), rel=1e-3)
    assert mixture.converged
    assert len(found.history) == 1 + max(exponential.n_passes, mixture.n_passes)


def test_the_cluster_changes_no_bit(client, monkeypatch):
    source = MadeSource(rows(), 100)
    there = sweep(source, (2, 3), random_state=0, client=client)
    monkeypatch.setattr("dask_em.engine.runner._found_client", lambda: None)
    here = sweep(source, (2, 3), random_state=0)
    assert len(there.history) > 1
    assert there.to_dicts() == here.to_dicts()
    assert (there.best.covariances_ == here.best.covariances_).all()


def test_rows_are_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best mixture knows the features all the same."""
    opened: list[object] = []

    def counted(*args, **options):
        opened.append(args)
        return open_rows(*args, **options)

    monkeypatch.setattr("dask_em.estimators.sweep.open_rows", counted)
    frame = pd.DataFrame(rows(50), columns=["a", "b"])
    best = sweep(frame, [1, 2], covariance_type=["diag"], random_state=0).best
    assert len(opened) == 1
    assert list(best.feature_names_in_) == ["a", "b"]
    assert best.n_features_in_ == 2
