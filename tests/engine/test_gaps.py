"""Rows with gaps on their way to a model that takes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import dask.array as da
import numpy as np
import pytest

import dask_em
from dask_em.core.block import Block, Missing
from dask_em.engine import sample as sampling
from dask_em.engine.fit import Fitted, fit, score
from dask_em.models.ppca import PPCA
from dask_em.models.ppca_missing import MissingPPCA
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.sources.registry import open_source
from tests.engine.sources import MadeSource, Script, clusters

RNG = np.random.default_rng(1)
LOADINGS = RNG.normal(size=(6, 2))
WHOLE = RNG.normal(size=(900, 2)) @ LOADINGS.T + 0.3 * RNG.normal(size=(900, 6)) + 4
GAPS = np.where(RNG.random(WHOLE.shape) < 0.3, np.nan, WHOLE)
GAPS[::50] = np.nan
N_EMPTY = int(np.isnan(GAPS).all(axis=1).sum())
STOPPING = dask_em.Stopping(1e-9, 500)


def fitted(rows: object, algorithm: str = "em", **options: object) -> Fitted[PPCAParameters]:
    source = open_source(rows, sample_weight=options.pop("weights", None))
    options = {"stopping": STOPPING, "missing": "model", **options}
    return fit(PPCA(2), source, algorithm=algorithm, rng=np.random.default_rng(0), **options)


def test_rows_of_which_nothing_is_observed_are_counted() -> None:
    found = fitted(GAPS)
    assert N_EMPTY >= 18
    assert {record.empty for record in found.history} == {N_EMPTY}
    incomplete = int(np.isnan(GAPS).any(axis=1).sum())
    assert {record.incomplete for record in found.history} == {incomplete}
    assert {record.dropped for record in found.history} == {0}
    assert {record.rows for record in found.history} == {900}
    some = fitted(GAPS[~np.isnan(GAPS).all(axis=1)])
    np.testing.assert_allclose(found.parameters.mean, some.parameters.mean, rtol=1e-3)
    assert Block(GAPS).gaps() == (incomplete, N_EMPTY)
    assert Block(GAPS[:0]).gaps() == (0, 0)


def test_a_row_of_weight_0_is_not_looked_at() -> None:
    weights = RNG.integers(0, 3, 900).astype(float)
    rows = np.where(weights[:, None] > 0, GAPS, np.inf)
    found = fitted(rows, weights=weights)
    again = fitted(np.repeat(GAPS, weights.astype(int), axis=0))
    assert found.objective == pytest.approx(again.objective, rel=1e-9)
    np.testing.assert_allclose(found.parameters.covariance, again.parameters.covariance, rtol=1e-5)


def test_em_with_gaps_ascends_whatever_the_algorithm() -> None:
    plain = fitted(GAPS)
    assert np.diff(plain.objectives).min() > -1e-12
    few = fitted(da.from_array(GAPS, chunks=(100, 6)), "accelerated")
    assert few.objective == pytest.approx(plain.objective, abs=1e-7)
    assert few.history[-1].step in ("em", "extrapolated", "stretched")


def test_the_score_is_that_of_what_is_observed() -> None:
    found = fitted(GAPS).parameters
    known = np.flatnonzero(~np.isnan(GAPS[7]))
    from scipy.stats import multivariate_normal

    expected = multivariate_normal(found.mean[known], found.covariance[np.ix_(known, known)])
    scored = score(PPCA(2), open_source(GAPS[7:8]), found, missing="model")
    assert scored.log_likelihood == pytest.approx(expected.logpdf(GAPS[7, known]), rel=1e-10)


def test_a_feature_that_is_never_observed_is_named(tmp_path: Path) -> None:
    rows = GAPS.copy()
    rows[:, 4] = np.nan
    with pytest.raises(dask_em.DataError, match="1 of 6 features .* never observed: 4; leave"):
        fitted(rows)
    source = MadeSource(rows, 100)
    source.schema = dataclasses.replace(source.schema, feature_names=tuple("abcdef"))
    with pytest.raises(dask_em.DataError, match="1 of 6 features .* never observed: e; leave"):
        fit(PPCA(2), source, missing="model")


def test_a_feature_that_the_sample_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SAMPLE_ROWS", 50)
    rows = GAPS.copy()
    rows[:, 4] = np.nan
    rows[1:5, 4] = WHOLE[1:5, 4]
    with pytest.raises(dask_em.DataError, match="sample of 50 rows.* has none: 4; .*init_sample"):
        fitted(da.from_array(rows, chunks=(100, 6)))
    assert fitted(da.from_array(rows, chunks=(100, 6)), init_sample=900).parameters.q == 2


def test_gaps_that_are_refused() -> None:
    with pytest.raises(dask_em.DataError, match='missing="drop".*or missing="model"'):
        fitted(GAPS, missing="error")
    with pytest.raises(dask_em.DataError, match="infinity"):
        fitted(np.where(np.isnan(GAPS), np.inf, GAPS))
    mixture = dask_em.GaussianMixture(2).fit(clusters(300))
    with pytest.raises(
        dask_em.SchemaError, match='"model", but a Mixture needs whole rows; .*drop'
    ):
        fit(mixture._model, open_source(GAPS), missing="model")
    with pytest.raises(dask_em.DataError, match="NaN") as refused:
        fit(mixture._model, open_source(GAPS), missing="error")
    assert '"model"' not in str(refused.value)
    with pytest.raises(dask_em.SchemaError, match="missing='some'"):
        Missing("some")


def test_models_with_gaps_stay_what_they_are() -> None:
    model = MissingPPCA(3, "random", expanded=False)
    assert model.with_gaps() is model
    assert PPCA(3, "random").with_gaps() == MissingPPCA(3, "random")


def test_chunks_that_are_skipped() -> None:
    source = MadeSource(GAPS, 100, script=Script(3, "fail"))
    found = fit(PPCA(2), source, missing="model", on_bad_chunk="skip", stopping=STOPPING)
    rest = fitted(np.delete(GAPS, slice(300, 400), axis=0))
    assert found.history[-1].bad_chunks == 1
    assert found.objective == pytest.approx(rest.objective, abs=1e-7)


def test_a_fit_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    rows = da.from_array(GAPS, chunks=(100, 6))
    whole = fitted(rows, "accelerated")
    for passes in (2, 4, 500):
        stopping = dask_em.Stopping(1e-9, passes)
        part = fitted(rows, "accelerated", stopping=stopping, checkpoint=tmp_path / "kept")
    assert part.parameters.equals(whole.parameters)
    assert part.objectives == whole.objectives


@pytest.mark.parametrize("model", [PPCA(3), MissingPPCA(3)])
def test_the_size_of_statistics_is_known_before(model: PPCA | MissingPPCA) -> None:
    block = Block(WHOLE)
    parameters = model.initialize(block, RNG)
    statistics = model.expect(block, parameters)
    own = {name: a for name, a in statistics.flatten()[1].items() if "." not in name}
    arrays = [*own.values(), *parameters.flatten()[1].values()]
    nbytes = sum(one.nbytes for one in arrays)
    assert nbytes <= model.statistics_bytes(6) + 8 * 5 * 6
    assert model.statistics_bytes(6) <= 1.2 * nbytes
