"""Mapped rows of Parquet and of dask DataFrames, from the fit to what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import dask_em
from dask_em import PPCA, GaussianMixture, Log, RowMask, SchemaError, Select, Standardize
from tests.sources.table_cases import write

NAMES = ["a", "b", "c", "d"]
STEPS = [Select(["c", "a"]), Log(["a"]), Standardize()]
N = 300
RNG = np.random.default_rng(8)
CENTRES = 4.0 * RNG.integers(0, 3, N)[:, None]
FRAME = pd.DataFrame(5 + CENTRES + RNG.normal(0, 0.5, (N, 4)), columns=NAMES)
FRAME["depth"] = np.arange(float(N))
GAPPY = FRAME.copy()
GAPPY.loc[::7, "b"] = np.nan  # the model does not see it
GAPPY.loc[3::11, "a"] = np.nan
SHALLOW = "depth < 100"

pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")


def parquet(home: Path, frame: pd.DataFrame = FRAME) -> Path:
    """Two files of several row groups."""
    for number, part in enumerate((frame[:120], frame[120:])):
        write(home / f"{number}.parquet", pa.Table.from_pandas(part, preserve_index=False), 50)
    return home


def lazily(frame: pd.DataFrame = FRAME) -> Any:
    return dd.from_pandas(frame, npartitions=4)


def mixture(**options: Any) -> GaussianMixture:
    return GaussianMixture(3, random_state=0, **options)


def analyser() -> PPCA:
    """Of rows with gaps."""
    return PPCA(1, missing="model").fit(GAPPY[NAMES], mapping=[Select(["c", "a"]), Standardize()])


@pytest.mark.parametrize("kind", ["parquet", "dask"])
def test_mapped_tables_are_answered_as_rows_in_memory(kind: str, tmp_path: Path) -> None:
    data = parquet(tmp_path / "t") if kind == "parquet" else lazily()
    model = mixture().fit(data, features=NAMES, mapping=STEPS)
    assert model.feature_names_ == ("c", "a")
    means = [np.mean(FRAME.c), np.mean(np.log(FRAME.a))]
    assert_allclose(model.mapping_.steps[-1].means, means, rtol=1e-12)
    for ask in (model.predict, model.predict_proba, model.score_samples):
        assert_array_equal(np.asarray(ask(data)), ask(FRAME))
    assert_allclose(model.score(data), model.score(FRAME), rtol=1e-12)
    if kind == "dask":  # answers keep the index
        found = model.predict(data).compute()
        assert found.index.equals(FRAME.index)
        assert found.name == "class"


@pytest.mark.parametrize("ask", ["fill", "reconstruct", "transform", "score_samples"])
def test_gaps_of_mapped_frames(ask: str) -> None:
    model = analyser()
    here = np.asarray(getattr(model, ask)(GAPPY[NAMES]))
    there = np.asarray(getattr(model, ask)(lazily(GAPPY)))
    assert_array_equal(there.reshape(here.shape), here)


def test_mapped_answers_in_parquet(tmp_path: Path) -> None:
    model, data = analyser(), parquet(tmp_path / "t", GAPPY)
    options = {"keys": ["depth"], "where": SHALLOW}
    shallow = GAPPY[:100]
    model.write_filled(data, tmp_path / "filled", deviation=True, **options)
    found = pd.read_parquet(tmp_path / "filled")
    filled, deviations = model.fill(shallow[NAMES], return_std=True)
    assert_array_equal(found.depth, shallow.depth)
    assert_array_equal(found[NAMES], filled)
    assert_array_equal(found[[f"{name}_deviation" for name in NAMES]], deviations)
    assert found.a.notna().all()
    assert_array_equal(found.b, shallow.b)  # gaps of what is not selected stay
    model.write_scores(data, tmp_path / "scores", reconstruction=True, **options)
    found = pd.read_parquet(tmp_path / "scores")
    assert_array_equal(found[["score_0"]], model.transform(shallow[NAMES]))
    rebuilt = found[[f"{name}_reconstruction" for name in NAMES]]
    assert_array_equal(rebuilt, model.reconstruct(shallow[NAMES]))
    assert rebuilt[["a_reconstruction", "c_reconstruction"]].notna().all(axis=None)
    assert rebuilt[["b_reconstruction", "d_reconstruction"]].isna().all(axis=None)


def test_a_condition_belongs_to_the_rows(tmp_path: Path) -> None:
    data = parquet(tmp_path / "t")
    model = mixture().fit(data, features=NAMES, where=SHALLOW, mapping=[Standardize()])
    assert model.history_[0].rows == 100
    model.save(tmp_path / "model.zarr")
    for one in (model, dask_em.load(tmp_path / "model.zarr")):
        assert len(one.predict(data).compute()) == N
        some = one.predict(data, where=SHALLOW).compute()
        assert_array_equal(some, one.predict(FRAME[:100]))
        assert_allclose(one.bic(data, where=SHALLOW), one.bic(FRAME[:100]), rtol=1e-12)


def test_the_same_rows_are_those_of_the_condition(tmp_path: Path) -> None:
    data = parquet(tmp_path / "t")
    options = {"features": NAMES, "where": SHALLOW}
    assert mixture().fit_predict(data, **options).compute().shape == (100,)
    assert PPCA(2).fit_transform(data, **options).compute().shape == (100, 2)


def test_masks_of_tables(tmp_path: Path) -> None:
    data, kept = parquet(tmp_path / "t"), np.arange(N) % 3 > 0
    found = mixture().fit_predict(data, features=NAMES, mapping=[RowMask(kept)]).compute()
    assert_array_equal(found >= 0, kept)
    for some, options in ((data, {"where": SHALLOW}), (lazily(), {})):
        with pytest.raises(SchemaError, match=r"lengths .* are not known.* where=.* \.query\(\)"):
            mixture().fit(some, features=NAMES, mapping=[RowMask(kept)], **options)


def test_latent_variables_of_frames_lead_back() -> None:
    model = analyser()
    scores = model.transform(lazily(GAPPY))
    rows = model.inverse_transform(scores)
    assert_array_equal(np.asarray(rows), model.inverse_transform(np.asarray(scores)))
    assert hasattr(rows, "dask")  # nothing is computed
