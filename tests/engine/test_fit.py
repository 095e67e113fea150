from __future__ import annotations

import numpy as np
import pytest

from dask_em import DataError, Gaussian, InputError, Mixture, Outcome, Stopping
from dask_em.engine import fit as engine
from dask_em.engine.fit import score
from dask_em.engine.many import fit_many
from dask_em.engine.monitor import Monitor
from dask_em.models.seeding import STARTS, KMeans
from tests.engine.sources import MadeSource, Script, clusters

MIXTURE = Mixture(Gaussian(), 3, KMeans())


def fit(*args, **options):
    """EM as in the textbook, unless a test says otherwise."""
    return engine.fit(*args, **{"algorithm": "em", **options})


def chance(seed=0):
    return np.random.default_rng(seed)


def test_history_has_a_record_for_each_full_pass():
    rows = clusters()
    fitted = fit(MIXTURE, MadeSource(rows, 300), rng=chance(), stopping=Stopping(0, 5))
    assert [record.kind for record in fitted.history] == ["first"] + 5 * ["em"]
    assert [record.iteration for record in fitted.history[1:]] == [0, 1, 2, 3, 4]
    for record in fitted.history:
        assert record.rows == len(rows)
        assert record.nbytes == rows.nbytes
        assert record.seconds > 0
    gains = [record.gain for record in fitted.history[2:]]
    np.testing.assert_allclose(gains, np.diff(fitted.objectives))
    assert fitted.outcome is Outcome.ITERATION_LIMIT
    assert "max_iter" in fitted.outcome.advice


def test_the_objective_belongs_to_the_parameters_beside_it():
    source = MadeSource(clusters(), 300)
    fitted = fit(MIXTURE, source, rng=chance(), stopping=Stopping(0, 4))
    again = fit(MIXTURE, source, start=fitted.parameters, stopping=Stopping(0, 1))
    found = score(MIXTURE, source, fitted.parameters)
    assert again.objective == found.log_likelihood
    assert again.objective >= fitted.objective
    assert found.mass == found.record.rows == len(source.rows)


def test_plain_em_ascends():
    fitted = fit(MIXTURE, MadeSource(clusters(), 300), rng=chance(), stopping=Stopping(0, 40))
    assert (np.diff(fitted.objectives) > -1e-12).all()


def test_the_result_does_not_depend_on_chunks_beyond_rounding():
    rows = clusters()
    fits = [
        fit(MIXTURE, MadeSource(rows, size), rng=chance(), stopping=Stopping(0, 10))
        for size in (4000, 1000, 7)
    ]
    for other in fits[1:]:
        np.testing.assert_allclose(
            other.parameters.components.means, fits[0].parameters.components.means, rtol=1e-9
        )


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_the_best_of_several_starts_is_kept(start):
    source = MadeSource(clusters(2000), 500)
    mixture = Mixture(Gaussian(), 3, start)
    stopping = Stopping(1e-6, 200)
    rng = chance()
    sample = fit(mixture, source, rng=chance(), n_init=4, stopping=stopping)
    single = max(fit(mixture, source, rng=rng, stopping=stopping).objective for _ in range(4))
    assert sample.objective == pytest.approx(single, abs=1e-12)


def test_several_starts_on_more_rows_than_the_sample_holds(monkeypatch):
    monkeypatch.setattr("dask_em.engine.sample.SAMPLE_ROWS", 800)
    source = MadeSource(clusters(), 500)
    fitted = fit(MIXTURE, source, rng=chance(), n_init=4, stopping=Stopping(1e-7, 400))
    single = fit(MIXTURE, source, rng=chance(), stopping=Stopping(1e-7, 400))
    assert [record.kind for record in fitted.history].count("first") == 1
    # the full passes go on from the optimum of the sample, not from its start
    assert len(fitted.history) > 2
    assert fitted.objectives[0] > single.objectives[0] + 0.01


def test_a_monitor_sees_every_task_and_pass():
    class Counting(Monitor):
        begun, tasks, ended = 0, 0, 0

        def begin(self, kind, iteration, n_tasks):
            self.begun += 1

        def advance(self):
            self.tasks += 1

        def end(self, record):
            self.ended += 1

    seen = Counting()
    fitted = fit(
        MIXTURE, MadeSource(clusters(), 300), rng=chance(), stopping=Stopping(0, 3), monitor=seen
    )
    assert seen.begun == seen.ended == 4
    assert seen.tasks == sum(record.n_tasks for record in fitted.history)


def test_rows_of_nan_are_named_or_dropped():
    source = MadeSource(clusters(), 300, script=Script(2, "nan"))
    with pytest.raises(DataError, match="300 of 300 rows of chunk 2"):
        fit(MIXTURE, source, rng=chance())
    fitted = fit(MIXTURE, source, rng=chance(), missing="drop", stopping=Stopping(0, 2))
    assert [record.dropped for record in fitted.history] == [300, 300, 300]


def test_a_bad_chunk_is_named_or_skipped():
    source = MadeSource(clusters(), 300, script=Script(2, "fail"))
    with pytest.raises(OSError, match="chunk 2 cannot be decoded"):
        fit(MIXTURE, source, rng=chance())
    fitted = fit(MIXTURE, source, rng=chance(), on_bad_chunk="skip", stopping=Stopping(0, 2))
    assert [record.bad_chunks for record in fitted.history] == [1, 1, 1]
    assert fitted.history[-1].rows == 3700


def test_every_chunk_bad_is_an_error():
    source = MadeSource(clusters(100), 100, script=Script(0, "fail"))
    with pytest.raises(DataError, match="no row to fit"):
        fit(MIXTURE, source, rng=chance(), on_bad_chunk="skip")


def test_values_that_cannot_be_squared():
    rows = clusters() * 1e200
    with pytest.raises(DataError, match="too large to be squared|rescale"):
        fit(MIXTURE, MadeSource(rows, 300), rng=chance())


def test_rows_in_memory_refuse_a_client():
    with pytest.raises(InputError, match="lies in this process's memory"):
        fit(MIXTURE, MadeSource(clusters(), 300, local=True), client=object())


def test_a_score_counts_the_chunks_that_were_skipped():
    rows = clusters()
    source = MadeSource(rows, 300, script=Script(2, "fail"))
    fitted = fit(MIXTURE, MadeSource(rows, 300), rng=chance(), stopping=Stopping(0, 2))
    found = score(MIXTURE, source, fitted.parameters, on_bad_chunk="skip")
    assert (found.mass, found.record.bad_chunks) == (3700, 1)
    with pytest.raises(OSError, match="chunk 2 cannot be decoded"):
        score(MIXTURE, source, fitted.parameters)


def test_many_are_one_or_more():
    with pytest.raises(InputError, match="0 models to fit; give 1 or more"):
        fit_many([], MadeSource(clusters(), 300), [])
