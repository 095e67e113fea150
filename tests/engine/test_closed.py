"""Models whose optimum follows from one pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

import dask_em
from dask_em.core.block import Block
from dask_em.core.stopping import Outcome, Stopping
from dask_em.engine.fit import fit
from dask_em.engine.monitor import Monitor
from dask_em.models.ppca import PPCA
from dask_em.models.ppca_choice import ExplainedVariance, LeastBIC
from dask_em.sources.registry import open_source
from tests.engine.sources import MadeSource, Script

RNG = np.random.default_rng(2)
ROWS = RNG.normal(size=(3200, 3)) @ RNG.normal(size=(3, 8)) + 0.5 * RNG.normal(size=(3200, 8)) + 3


class Counted(MadeSource):
    """How often each chunk is read, in this process."""

    def __init__(self, rows: Any, size: int, **options: Any) -> None:
        super().__init__(rows, size, **options)
        self.read: list[int] = []

    def partition(self, chunks: range) -> Any:
        self.read += chunks
        return super().partition(chunks)


def log_likelihood(rows: Any, parameters: Any) -> float:
    return PPCA(1).expect(Block(rows), parameters).log_likelihood / len(rows)


def test_one_pass_and_a_look_at_a_few_chunks() -> None:
    source = Counted(ROWS, 25)
    found = fit(PPCA(3), source)
    assert [(one.kind, one.step, one.gap) for one in found.history] == [("em", "closed", 0.0)]
    assert found.history[0].rows == 3200
    assert found.history[0].nbytes == ROWS.nbytes
    assert len(source.read) == 128 + 4
    assert found.outcome is Outcome.CONVERGED
    assert found.objective == found.objectives[-1]
    assert found.objective == pytest.approx(log_likelihood(ROWS, found.parameters), rel=1e-12)
    whole = PPCA(3).initialize(Block(ROWS), RNG)
    np.testing.assert_allclose(found.parameters.covariance, whole.covariance, rtol=1e-9)


def test_few_chunks_are_hardly_looked_at() -> None:
    source = Counted(ROWS, 200)
    fit(PPCA(3), source)
    assert len(source.read) == 16 + 1


def test_textbook_em_is_still_there() -> None:
    stopping = Stopping(1e-11, 3000)
    found = fit(PPCA(3, "random"), open_source(ROWS), algorithm="em", stopping=stopping)
    assert found.history[0].kind == "first"
    assert len(found.objectives) > 3
    assert np.diff(found.objectives).min() > -1e-12
    assert found.objective == pytest.approx(fit(PPCA(3), MadeSource(ROWS, 50)).objective, abs=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_far_from_those_looked_at_cost_a_second_pass(dtype: Any) -> None:
    # nothing of the look tells how far the others are
    rows = ROWS.copy()
    chunks = np.arange(3200) // 50
    rows[~np.isin(chunks, [16, 48])] += 2.0**16
    rows = rows.astype(dtype)
    found = fit(PPCA(3), MadeSource(rows, 50))
    assert [one.step for one in found.history] == ["closed", "closed"]
    assert [one.gap for one in found.history] == [None, 0.0]
    covariance = np.cov(rows.astype(float), rowvar=False, bias=True)
    noise = np.linalg.eigvalsh(covariance)[:5].mean()
    tolerance = 1e-6 if dtype == np.float64 else 1e-2
    assert found.parameters.noise_variance == pytest.approx(noise, rel=tolerance)


def test_rows_whose_sums_have_no_digits_left_are_summed_again() -> None:
    # the rows of the look hardly count, and the others are as far as float32 has no squares
    rows, weights = 1e-3 * ROWS + 1e4, np.ones(3200)
    looked = np.arange(3200) // 400 == 4
    rows[looked], weights[looked] = 1e-3 * ROWS[looked], 1e-20
    rows = rows.astype(np.float32)
    lazy = da.from_array(rows, chunks=(400, 8))
    found = fit(PPCA(3), open_source(lazy, sample_weight=weights))
    told = [(one.kind, one.step) for one in found.history]
    assert told == [("first", None), ("em", "rejected"), ("em", "closed")]
    rest = fit(PPCA(3), MadeSource(rows[~looked], 400))
    assert found.parameters.noise_variance == pytest.approx(rest.parameters.noise_variance, 1e-3)


def test_too_many_dimensions_cost_no_pass() -> None:
    class NoPass(Monitor):
        def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
            raise AssertionError(f"a pass was made: {kind}")

    with pytest.raises(dask_em.InputError, match="8 latent dimensions for 8 features"):
        fit(PPCA(8), MadeSource(ROWS, 25), monitor=NoPass())


def test_a_look_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from dask_em.engine import look

    seen = []

    def streamed(leaves: Any, reading: Any) -> Any:
        seen.append(reading.cache)
        return stream(leaves, reading)

    stream = look.stream
    monkeypatch.setattr(look, "stream", streamed)
    fit(PPCA(3), MadeSource(ROWS, 50), cache=10**6)
    assert seen == [None] * 2


def test_where_a_look_finds_nothing_a_sample_is_drawn() -> None:
    rows = ROWS.copy()
    rows[(np.arange(3200) // 200) == 8] = np.nan
    found = fit(PPCA(3), MadeSource(rows, 200), missing="drop")
    assert [one.kind for one in found.history] == ["first", "em"]
    assert found.history[-1].dropped == 200
    rest = fit(PPCA(3), MadeSource(rows[~np.isnan(rows[:, 0])], 200))
    np.testing.assert_allclose(found.parameters.covariance, rest.parameters.covariance, rtol=1e-9)
    with pytest.raises(dask_em.DataError, match="all 3200 rows hold NaN and were dropped"):
        fit(PPCA(3), MadeSource(np.full_like(ROWS, np.nan), 200), missing="drop")
    with pytest.raises(dask_em.DegenerateError, match="all rows are equal"):
        fit(PPCA(3), MadeSource(np.ones_like(ROWS), 200))


def test_chunks_that_cannot_be_read() -> None:
    rest = fit(PPCA(3), MadeSource(np.delete(ROWS, slice(800, 850), axis=0), 50))
    # it is one of those looked at
    found = fit(PPCA(3), MadeSource(ROWS, 50, script=Script(16, "fail")), on_bad_chunk="skip")
    assert found.history[-1].bad_chunks == 1
    np.testing.assert_allclose(found.parameters.covariance, rest.parameters.covariance, rtol=1e-9)
    with pytest.raises(dask_em.ChunkError):
        fit(PPCA(3), MadeSource(ROWS, 50, script=Script(16, "fail")))


def test_the_same_bits_here_and_from_a_checkpoint(tmp_path: Path) -> None:
    told: list[Any] = []

    class Told(Monitor):
        def end(self, record: Any) -> None:
            told.append(record)

    one = fit(PPCA(3), MadeSource(ROWS, 50))
    for _ in range(2):
        source = Counted(ROWS, 50)
        again = fit(PPCA(3), source, checkpoint=tmp_path / "kept", monitor=Told())
        assert again.parameters.equals(one.parameters)
        assert again.objective == one.objective
    assert len(told) == 2
    assert told[0] == told[1]
    assert len(source.read) == 64, "a fit that was done looked at rows again"


def test_an_interrupted_second_pass_is_made_again(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[~np.isin(np.arange(3200) // 50, [16, 48])] += 2.0**16

    class Stop(Monitor):
        def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
            if iteration == 1:
                raise KeyboardInterrupt

    whole = fit(PPCA(3), MadeSource(rows, 50))
    with pytest.raises(KeyboardInterrupt):
        fit(PPCA(3), MadeSource(rows, 50), checkpoint=tmp_path / "kept", monitor=Stop())
    source = Counted(rows, 50)
    again = fit(PPCA(3), source, checkpoint=tmp_path / "kept")
    assert len(source.read) == 64
    assert again.parameters.equals(whole.parameters)
    assert [one.objective for one in again.history] == [one.objective for one in whole.history]


def test_a_start_may_be_given() -> None:
    start = PPCA(3, "random").initialize(Block(ROWS[:100]), RNG)
    source = Counted(ROWS, 50)
    found = fit(PPCA(3), source, start=start)
    assert len(source.read) == 64
    assert found.objective == pytest.approx(fit(PPCA(3), source).objective, rel=1e-12)
    assert fit(PPCA(3), source, start=start, stopping=Stopping(max_iter=0)).parameters is start


def test_the_number_of_dimensions_may_follow_from_the_pass() -> None:
    assert fit(PPCA(7, choice=LeastBIC()), MadeSource(ROWS, 50)).parameters.q == 3
    values = np.linalg.eigvalsh(np.cov(ROWS, rowvar=False))[::-1]
    shares = np.cumsum(values) / values.sum()
    for q in range(1, 7):
        choice = ExplainedVariance(float(shares[q - 1]) - 1e-9)
        assert fit(PPCA(7, choice=choice), MadeSource(ROWS, 50)).parameters.q == q
    found = fit(PPCA(2, choice=ExplainedVariance(0.9999)), MadeSource(ROWS, 50))
    assert found.parameters.q == 2


def test_bic_is_that_of_fits_one_by_one() -> None:
    from dask_em.models.criteria import Criteria

    rows = ROWS[:40]
    found = []
    for q in range(1, 8):
        one = fit(PPCA(q), open_source(rows))
        free = one.parameters.n_free_parameters
        found.append(Criteria(one.objective * 40, 40, free).bic)
    chosen = fit(PPCA(7, choice=LeastBIC()), open_source(rows)).parameters.q
    assert chosen == 1 + int(np.argmin(found))


def test_dimensions_that_leave_no_noise_are_not_chosen() -> None:
    rows = np.column_stack([ROWS, np.zeros(len(ROWS))])
    assert fit(PPCA(8, choice=LeastBIC()), open_source(rows)).parameters.q < 8


def test_fractions_are_checked() -> None:
    for fraction in (0.0, 1.0, -0.5, 1.5):
        with pytest.raises(dask_em.InputError, match="above 0 and below 1"):
            ExplainedVariance(fraction)


def test_placed_statistics_do_not_depend_on_where_they_were_taken() -> None:
    model = PPCA(3)
    one = model.expect(Block(ROWS), model.initialize(Block(ROWS[:50]), RNG))
    there = replace(model.closed_form(one), frame=None)
    other = model.expect(Block(ROWS), there)
    found = model.placed(one, there).log_likelihood
    assert found == pytest.approx(other.log_likelihood, rel=1e-12)
    assert model.nearer(one, np.dtype(np.float64)) is None
