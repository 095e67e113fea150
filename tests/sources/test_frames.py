"""Dask DataFrames: columns, weights, and answers in the frame that came in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask import delayed
from distributed import Client

from dask_em import PPCA, GaussianMixture
from dask_em.errors import ChunkError, DataError, SchemaError
from dask_em.sources.frames import FrameSource
from dask_em.sources.registry import open_source
from tests.sources.table_cases import hive

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:dask")
RNG = np.random.default_rng(2)
N = 500
ROWS = RNG.normal(size=(N, 3)) + 4 * RNG.integers(2, size=(N, 1))
PANDAS = pd.DataFrame(ROWS, columns=list("abc"), index=pd.Index(np.arange(N) * 2, name="when"))
PANDAS["text"] = "x"
PANDAS["w"] = np.arange(N) % 3
FEATURES = list("abc")


def frame(npartitions: int = 4) -> Any:
    return dd.from_pandas(PANDAS, npartitions=npartitions)


@pytest.fixture(scope="module")
def model() -> GaussianMixture:
    return GaussianMixture(2, random_state=0).fit(PANDAS[FEATURES])


@pytest.mark.parametrize("method", ["predict", "score_samples"])
def test_one_number_for_each_row(model: GaussianMixture, method: str) -> None:
    lazy = getattr(model, method)(frame())
    assert isinstance(lazy, dd.Series)
    assert lazy.divisions == frame().divisions
    found = lazy.compute()
    assert found.index.equals(PANDAS.index)
    assert found.name == {"predict": "class", "score_samples": "log_likelihood"}[method]
    assert lazy.dtype == found.dtype
    assert np.array_equal(found, getattr(model, method)(PANDAS[FEATURES]))


def test_several_numbers_for_each_row(model: GaussianMixture) -> None:
    lazy = model.predict_proba(frame())
    assert isinstance(lazy, dd.DataFrame)
    assert list(lazy.columns) == ["probability_0", "probability_1"]
    assert lazy.divisions == frame().divisions
    assert np.array_equal(lazy.compute(), model.predict_proba(PANDAS[FEATURES]))


def test_answers_join_their_rows(model: GaussianMixture) -> None:
    lazy = frame()
    joined = lazy.assign(label=model.predict(lazy)).compute()
    assert np.array_equal(joined["label"], model.predict(PANDAS[FEATURES]))


def test_filtered_rows_and_empty_partitions(model: GaussianMixture) -> None:
    some = frame(5).query("when > 300 and a > 0")
    expected = PANDAS.query("when > 300 and a > 0")
    found = model.predict(some).compute()
    assert found.index.equals(expected.index)
    assert np.array_equal(found, model.predict(expected[FEATURES]))


def test_scores_and_filled_rows() -> None:
    gaps = PANDAS[FEATURES].mask(RNG.random((N, 3)) < 0.1)
    lazy = dd.from_pandas(gaps, npartitions=3)
    model = PPCA(2, random_state=0, missing="model").fit(lazy)
    found = model.transform(lazy).compute()
    assert list(found.columns) == ["score_0", "score_1"]
    assert np.allclose(found, model.transform(gaps))
    filled, deviation = model.fill(lazy, return_std=True)
    assert list(filled.columns) == FEATURES
    assert np.allclose(filled.compute(), model.fill(gaps))
    assert list(deviation.columns) == ["a_deviation", "b_deviation", "c_deviation"]
    means, covariances = model.transform(lazy, return_cov=True)
    assert list(covariances.columns)[1] == "covariance_0_1"
    assert len(means) == len(covariances.compute()) == N


@pytest.mark.parametrize("kind", ["column", "series", "array"])
def test_fits_are_those_of_the_rows(kind: str) -> None:
    lazy = frame()
    weights = {"column": "w", "series": lazy["w"], "array": lazy["w"].values}[kind]
    options = {"random_state": 0, "max_iter": 4, "algorithm": "em", "tol": 0}
    with pytest.warns(UserWarning, match="did not converge"):
        streamed = GaussianMixture(2, **options).fit(
            lazy, sample_weight=weights, features=["[abc]"]
        )
    with pytest.warns(UserWarning, match="did not converge"):
        plain = GaussianMixture(2, **options).fit(PANDAS[FEATURES], sample_weight=PANDAS["w"])
    assert np.allclose(np.sort(streamed.means_, 0), np.sort(plain.means_, 0), rtol=1e-6)
    assert list(streamed.feature_names_in_) == FEATURES
    assert np.allclose(streamed.score(lazy), streamed.score(PANDAS[FEATURES]))
    # columns that the fit did not know, or in another order, do not matter
    turned = lazy[["w", "c", "b", "a"]]
    assert np.array_equal(streamed.predict(turned).compute(), streamed.predict(lazy).compute())


def test_on_a_cluster(client: Client) -> None:
    options = {"random_state": 0, "max_iter": 3, "tol": 0, "algorithm": "em"}
    with pytest.warns(UserWarning, match="did not converge"):
        here = GaussianMixture(2, **options).fit(frame(), features=FEATURES, client=client)
    with pytest.warns(UserWarning, match="did not converge"):
        kept = GaussianMixture(2, **options).fit(
            frame().persist(), features=FEATURES, client=client
        )
    assert here.means_.tobytes() == kept.means_.tobytes()
    assert np.array_equal(here.predict(frame()).compute(), here.predict(PANDAS[FEATURES]))


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    partition = FrameSource(dd.read_parquet(hive(tmp_path)), ["b"]).partition(range(1))
    (read,) = [node for node in partition.graph.values() if not node.dependencies]
    assert list(read().columns) == ["b"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"features": ["aa"]}, "no column 'aa'.*did you mean 'a'"),
        ({"features": ["text"]}, "'text'.*is str.*astype"),
        ({"features": ["z*"]}, r"no column of numbers fits 'z\*'"),
        ({"sample_weight": "weight"}, "no column 'weight' for weights"),
        ({"sample_weight": np.ones(N)}, "name of a column"),
        ({"sample_weight": frame(2)["w"].values}, "2,.* chunks, expected 4"),
        ({"sample_dims": ["row"]}, "sample_dims="),
        ({"where": "a > 0"}, r"\.query\(\)"),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], named: str) -> None:
    with pytest.raises(SchemaError, match=named):
        open_source(frame(), **options)


def test_times_are_refused() -> None:
    times = dd.from_pandas(pd.DataFrame({"t": pd.date_range("2020", periods=3)}), npartitions=1)
    with pytest.raises(SchemaError, match="'t'.*datetime64.*total_seconds"):
        FrameSource(times, ["t"])


def test_a_partition_that_cannot_be_computed() -> None:
    def broken(part: Any) -> Any:
        if len(part) and part.index[0] == 0:
            raise RuntimeError("no such luck")
        return part

    lazy = frame().map_partitions(broken, meta=PANDAS.iloc[:0])
    with pytest.raises(ChunkError, match="partition 0 of the dask DataFrame.*no such luck"):
        GaussianMixture(2).fit(lazy, features=FEATURES)


def test_a_weight_below_zero_is_named() -> None:
    with pytest.raises(DataError, match=r"partition \d.*negative"):
        GaussianMixture(2).fit(frame(), features=FEATURES, sample_weight=frame()["w"] - 1)


def test_shared_work_is_warned_of() -> None:
    whole = delayed(PANDAS[FEATURES].copy)()
    parts = dd.from_delayed([whole.iloc[:10], whole.iloc[10:]], meta=PANDAS[FEATURES].iloc[:0])
    with pytest.warns(UserWarning, match="share upstream tasks"):
        FrameSource(parts, FEATURES)


class TestPandas:
    """A data frame in memory is scikit-learn's, but its columns can be selected."""

    def test_columns_are_selected_and_remembered(self) -> None:
        fitted = GaussianMixture(2, random_state=0).fit(PANDAS, features=["[ab]"])
        assert list(fitted.feature_names_in_) == ["a", "b"]
        expected = GaussianMixture(2, random_state=0).fit(PANDAS[["a", "b"]])
        assert np.array_equal(fitted.means_, expected.means_)
        labels = fitted.predict(PANDAS.assign(a2=1.0)[["b", "a2", "a", "text"]])
        assert isinstance(labels, np.ndarray)
        assert np.array_equal(labels, expected.predict(PANDAS[["a", "b"]]))

    def test_a_name_that_is_not_there(self) -> None:
        with pytest.raises(SchemaError, match="'aa'.*did you mean 'a'"):
            GaussianMixture(2).fit(PANDAS, features=["aa"])
