"""Answers for Parquet: file for file, row for row, whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client

import dask_em
from dask_em import PPCA, GaussianMixture
from dask_em.errors import ChunkError, InputError, SchemaError, SourceError
from dask_em.sources.registry import open_source
from tests.sources.table_cases import write
from tests.sources.test_parquet import corrupt, truncate

RNG = np.random.default_rng(3)
N = 1000
CENTRES = np.array([[0.0, 0, 0], [5, 5, 5]])
LABELS = RNG.integers(2, size=N)
ROWS = CENTRES[LABELS] + RNG.normal(size=(N, 3))
TABLE = pa.table(
    {
        "id": [f"row {i}" for i in range(N)],
        "small": pa.array(np.arange(N) % 7, pa.int8()),
        **{name: ROWS[:, j] for j, name in enumerate("abc")},
        "when": pa.array(np.arange(N), pa.timestamp("ms", tz="UTC")),
    }
)
FEATURES = list("abc")


@pytest.fixture(scope="module")
def model() -> GaussianMixture:
    return GaussianMixture(2, random_state=0).fit(pd.DataFrame(ROWS, columns=FEATURES))


def dataset(home: Path) -> Path:
    """Four files in two partitions, of unequal row groups, one of them empty."""
    edges = [(0, 300, 70), (300, 300, 1), (300, 520, 220), (520, N, 100)]
    for number, (start, stop, rows) in enumerate(edges):
        path = home / f"year={2009 + number // 2}" / f"part-{number}.parquet"
        write(path, TABLE.slice(start, stop - start), rows)
    return home


def names_in(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def labels_of(model: Any, rows: Any) -> Any:
    return model.predict(pd.DataFrame(rows, columns=FEATURES))


def read(home: Path) -> pd.DataFrame:
    return pq.read_table(home).to_pandas()


def test_file_for_file_and_row_for_row(model: GaussianMixture, tmp_path: Path) -> None:
    home, out = dataset(tmp_path / "in"), tmp_path / "out"
    tally = model.write_predictions(
        home, out, probabilities=True, log_density=True, keys=["id", "when"]
    )
    assert tally.rows == N
    assert names_in(out) == sorted([*names_in(home), "_dask_em.json"])
    for name in names_in(home):
        mine, theirs = pq.ParquetFile(out / name), pq.ParquetFile(home / name)
        groups = range(theirs.num_row_groups)
        lengths = [theirs.metadata.row_group(i).num_rows for i in groups]
        found = [mine.metadata.row_group(i).num_rows for i in range(mine.num_row_groups)]
        assert found == [length for length in lengths if length]
        keys = ["id", "when"]
        assert mine.read(keys).cast(theirs.read(keys).schema).equals(theirs.read(keys))
    found = read(out)
    assert [*found.columns] == [
        "id", "when", "class", "probability_0", "probability_1", "log_likelihood", "year",
    ]  # fmt: skip
    rows = pd.DataFrame(ROWS, columns=FEATURES)
    assert np.array_equal(found["class"], model.predict(rows))
    assert np.array_equal(found[["probability_0", "probability_1"]], model.predict_proba(rows))
    assert np.array_equal(found["log_likelihood"], model.score_samples(rows))
    assert pq.read_schema(out / "year=2009" / "part-0.parquet").field("class").metadata


def test_the_same_files_for_any_number_of_workers(
    model: GaussianMixture, tmp_path: Path, client: Client
) -> None:
    home = dataset(tmp_path / "in")
    for name, options in (("alone", {}), ("cluster", {"client": client})):
        model.write_predictions(home, tmp_path / name, keys=["id"], **options)
    for name in names_in(home):
        assert (tmp_path / "alone" / name).read_bytes() == (
            tmp_path / "cluster" / name
        ).read_bytes()


def test_row_groups_in_parts(model: GaussianMixture, tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", TABLE, N)
    from dask_em.sources.parquet.source import ParquetSource

    source = ParquetSource.open(path, features=FEATURES, limit_bytes=24 * 300)
    model.write_predictions(source, tmp_path / "out", keys=["id"])
    found = read(tmp_path / "out")
    assert list(found["id"]) == TABLE["id"].to_pylist()
    assert np.array_equal(found["class"], labels_of(model, ROWS))
    assert pq.ParquetFile(tmp_path / "out" / "x.parquet").num_row_groups == 4


def test_with_a_condition_only_rows_that_fulfil_it(model: GaussianMixture, tmp_path: Path) -> None:
    home, out = dataset(tmp_path / "in"), tmp_path / "out"
    model.write_predictions(home, out, keys=["id", "small"], where="small < 3 and year == 2010")
    some = TABLE.to_pandas()[300:].query("small < 3")
    found = read(out)
    assert list(found["id"]) == list(some["id"])
    assert np.array_equal(found["class"], labels_of(model, some[FEATURES]))
    assert names_in(out) == [
        "_dask_em.json", "year=2010/part-2.parquet", "year=2010/part-3.parquet",
    ]  # fmt: skip


def test_rows_with_gaps_have_no_answer(tmp_path: Path) -> None:
    gaps = ROWS.copy()
    gaps[::10, 1] = np.nan
    frame = pd.DataFrame(gaps, columns=FEATURES)
    path = write(tmp_path / "x.parquet", pa.Table.from_pandas(frame), 300)
    model = GaussianMixture(2, random_state=0, missing="drop").fit(path)
    model.write_predictions(path, tmp_path / "out", log_density=True)
    found = read(tmp_path / "out")
    assert (found["class"][::10] == -1).all()
    assert (found["class"] >= 0).sum() == 900
    assert found["log_likelihood"].isna().sum() == 100


def test_scores_and_filled_rows(tmp_path: Path) -> None:
    gaps = ROWS.copy()
    gaps[::10, 1] = np.nan
    frame = pd.DataFrame(gaps, columns=FEATURES)
    path = write(tmp_path / "x.parquet", pa.Table.from_pandas(frame), 300)
    model = PPCA(2, random_state=0, missing="model").fit(path)
    model.write_scores(path, tmp_path / "scores", log_density=True)
    found = read(tmp_path / "scores")
    assert [*found.columns] == ["score_0", "score_1", "log_likelihood"]
    assert np.allclose(found[["score_0", "score_1"]], model.transform(frame))
    model.write_filled(path, tmp_path / "filled", deviation=True)
    found = read(tmp_path / "filled")
    assert [*found.columns] == [*FEATURES, *(f"{name}_deviation" for name in FEATURES)]
    assert np.allclose(found[FEATURES], model.fill(frame))
    assert np.array_equal(found["b_deviation"] > 0, np.arange(N) % 10 == 0)


class TestWhatCannotBeRead:
    @pytest.mark.filterwarnings("ignore:1 chunk")
    def test_a_row_group(self, model: GaussianMixture, tmp_path: Path) -> None:
        path = write(tmp_path / "x.parquet", TABLE, 100)
        corrupt(path, 3, 2)
        with pytest.raises(ChunkError, match="x.parquet"):
            model.write_predictions(path, tmp_path / "out", keys=["id"])
        assert os.listdir(tmp_path) == ["x.parquet"]
        model.set_params(on_bad_chunk="skip")
        try:
            model.write_predictions(path, tmp_path / "out", keys=["id"])
            model.write_predictions(path, tmp_path / "some", keys=["id"], where="small >= 0")
        finally:
            model.set_params(on_bad_chunk="raise")
        found, expected = read(tmp_path / "out"), labels_of(model, ROWS)
        expected[300:400] = -1
        assert list(found["id"]) == TABLE["id"].to_pylist()
        assert np.array_equal(found["class"], expected)
        found = read(tmp_path / "some")
        assert list(found["id"]) == np.delete(TABLE["id"].to_pylist(), slice(300, 400)).tolist()
        assert np.array_equal(found["class"], np.delete(expected, slice(300, 400)))

    @pytest.mark.filterwarnings("ignore:1 chunk")
    def test_a_file(self, model: GaussianMixture, tmp_path: Path) -> None:
        home = dataset(tmp_path / "in")
        truncate(home / "year=2009" / "part-0.parquet")
        model.set_params(on_bad_chunk="skip")
        try:
            tally = model.write_predictions(home, tmp_path / "out", keys=["id"])
        finally:
            model.set_params(on_bad_chunk="raise")
        assert tally.bad_chunks == 1
        assert list(read(tmp_path / "out")["id"]) == TABLE["id"].to_pylist()[300:]


class TestPlaces:
    def test_an_output_is_replaced_and_nothing_else(
        self, model: GaussianMixture, tmp_path: Path
    ) -> None:
        home, out = dataset(tmp_path / "in"), tmp_path / "out"
        model.write_predictions(home, out)
        assert json.loads((out / "_dask_em.json").read_text()) == {"dask_em": "output"}
        with pytest.raises(SourceError, match="overwrite=True"):
            model.write_predictions(home, out)
        model.write_predictions(home, out, keys=["id"], overwrite=True)
        assert "id" in read(out)
        other = dataset(tmp_path / "mine")
        with pytest.raises(SourceError, match="not written by dask_em"):
            model.write_predictions(home, other, overwrite=True)
        assert len(read(other)) == N

    @pytest.mark.parametrize("inside", [".", "year=2009", "new/deep"])
    def test_not_where_rows_are_read(
        self, model: GaussianMixture, tmp_path: Path, inside: str
    ) -> None:
        home = dataset(tmp_path / "in")
        with pytest.raises(InputError, match="store that rows are read from"):
            model.write_predictions(home, home / inside, overwrite=True)

    def test_one_dataset(self, model: GaussianMixture, tmp_path: Path) -> None:
        home = dataset(tmp_path / "in")
        with pytest.raises(InputError, match="probabilities=True"):
            model.write_predictions(home, tmp_path / "out", probabilities=tmp_path / "more")

    @pytest.mark.filterwarnings("ignore:X does not have valid feature names")
    def test_keys(self, model: GaussianMixture, tmp_path: Path) -> None:
        home = dataset(tmp_path / "in")
        with pytest.raises(SchemaError, match="'idd'.*did you mean 'id'"):
            model.write_predictions(home, tmp_path / "out", keys=["idd"])
        with pytest.raises(InputError, match="keys="):
            model.write_predictions(ROWS, tmp_path / "out", keys=["id"])
        clash = write(tmp_path / "x.parquet", TABLE.append_column("class", TABLE["id"]))
        with pytest.raises(InputError, match="both have a column 'class'"):
            model.write_predictions(clash, tmp_path / "out", keys=["class"])
        assert not (tmp_path / "out").exists()

    def test_a_url(self, model: GaussianMixture, tmp_path: Path) -> None:
        import fsspec

        files = fsspec.filesystem("memory")
        for name in names_in(dataset(tmp_path / "in")):
            files.pipe_file(f"/stored/{name}", (tmp_path / "in" / name).read_bytes())
        for _ in range(2):
            model.write_predictions(
                "memory://stored", "memory://answers", keys=["id"], overwrite=True
            )
        assert json.loads(files.cat_file("/answers/_dask_em.json")) == {"dask_em": "output"}
        source = open_source("memory://answers", features=["class", "year"])
        assert source.schema.n_rows == N

    def test_in_one_zarr_group(self, model: GaussianMixture, tmp_path: Path) -> None:
        import dask.array as da
        import zarr

        lazy = da.from_array(ROWS, chunks=(400, 3))
        model.write_predictions(lazy, tmp_path / "x.zarr", probabilities=True, log_density=True)
        answers = {"class", "probability", "log_likelihood"}
        assert {*zarr.open_group(tmp_path / "x.zarr")} == answers | {"component"}


def test_a_model_that_was_fitted_to_parquet(tmp_path: Path) -> None:
    home = dataset(tmp_path / "in")
    fitted = GaussianMixture(2, random_state=0).fit(home, features=["[abc]"])
    fitted.save(tmp_path / "model.zarr")
    loaded = dask_em.load(tmp_path / "model.zarr")
    loaded.write_predictions(home, tmp_path / "out")
    assert np.array_equal(read(tmp_path / "out")["class"], fitted.predict(home).compute())
