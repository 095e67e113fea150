"""Parquet: what is read of it, what is refused, and what is skipped."""

from __future__ import annotations

import pickle
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import dask_em
from dask_em import GaussianMixture
from dask_em.engine.fingerprint import differences
from dask_em.errors import ChunkError, DataError, InputError, SchemaError, SourceError
from dask_em.sources.kinds import stored_kind
from dask_em.sources.parquet.source import ParquetSource
from dask_em.sources.registry import open_source
from tests.sources.table_cases import NAMES, ROWS, folder, hive, table, write

MANY = np.random.default_rng(5).normal(size=(4000, 3))


def rows_of(source: Any) -> np.ndarray:
    read = source.partition(range(source.schema.n_chunks)).open()
    return np.concatenate([read(i).block.values for i in range(source.schema.n_chunks)])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def corrupt(path: Path, group: int, column: int = 0) -> None:
    """Spoil the bytes of a column of a row group."""
    chunk = pq.read_metadata(path).row_group(group).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(bytes(content))


ODD = pa.table(
    {
        "temp": [1.0, 2.0],
        "text": ["a", "b"],
        "category": pa.array(["a", "b"]).dictionary_encode(),
        "day": [date(2020, 1, 1)] * 2,
        "when": [datetime(2020, 1, 1)] * 2,
        "zoned": pa.array([0, 1], pa.timestamp("us", tz="Europe/Berlin")),
        "length": [timedelta(1)] * 2,
        "raw": [b"a", b"b"],
        "list": [[1.0], [2.0]],
        "struct": [{"x": 1.0}, {"x": 2.0}],
    }
)


@pytest.mark.parametrize(
    ("features", "named"),
    [
        (["tmep"], "no column 'tmep'.*did you mean 'temp'"),
        (["pressure*"], r"no column of numbers fits 'pressure\*'"),
        ([], "names no column"),
        (["text"], "'text'.*string.*astype"),
        (["category"], "'category'.*dictionary.*get_dummies"),
        (["day"], "'day'.*date32.*to_datetime"),
        (["when"], "'when'.*timestamp.*total_seconds"),
        (["zoned"], "'zoned'.*tz=Europe/Berlin.*total_seconds"),
        (["length"], "'length'.*duration.*total_seconds"),
        (["raw"], "'raw'.*binary"),
        (["list"], "'list'.*list.*columns of their own"),
        (["struct"], "'struct'.*struct.*columns of their own"),
    ],
)
def test_features_that_are_no_numbers(tmp_path: Path, features: list[str], named: str) -> None:
    path = write(tmp_path / "x.parquet", ODD)
    with pytest.raises(SchemaError, match=named):
        ParquetSource.open(path, features=features)


def test_by_default_all_numbers_are_features(tmp_path: Path) -> None:
    content = ODD.append_column("n", [[3, 4]]).append_column("flag", [[True, False]])
    content = content.append_column("__index_level_0__", [[0, 1]])
    source = ParquetSource.open(write(tmp_path / "x.parquet", content))
    assert source.schema.feature_names == ("temp", "n")


def test_a_table_without_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", ODD.select(["text", "day"]))
    with pytest.raises(SchemaError, match="no column of numbers.*text \\(string\\)"):
        ParquetSource.open(path)


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"weights": "d"}, SchemaError, "'d' for weights.*there are a, b, c"),
        ({"weights": np.ones(3)}, SchemaError, "expected"),
        ({"weights": np.ones(101), "where": "a > 0"}, SchemaError, "store the weights"),
        ({"where": "d > 0"}, SchemaError, "'d'"),
        ({"where": "year > 2010"}, DataError, "no file"),
        ({"where": "a >"}, InputError, "cannot be understood"),
    ],
)
def test_what_does_not_fit(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        ParquetSource.open(hive(tmp_path), **options)


def test_a_weight_below_zero_is_named(tmp_path: Path) -> None:
    content = table(ROWS).append_column("w", pa.array(np.where(np.arange(101) == 70, -1.0, 1.0)))
    source = ParquetSource.open(write(tmp_path / "x.parquet", content), weights="w")
    with pytest.raises(DataError, match="weights of row groups 0 to 2.*negative"):
        rows_of(source)


def test_only_what_is_wanted_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = pq.ParquetFile.iter_batches

    def noted(self: Any, batch_size: int, groups: Any, columns: Any, **options: Any) -> Any:
        read.append((tuple(groups), tuple(columns)))
        return original(self, batch_size, groups, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    last = f"a > 1000 or c >= {float(abs(ROWS[:, 2]).max())!r}"
    content = table(np.sort(abs(ROWS), axis=0))
    path = write(tmp_path / "x.parquet", content.append_column("d", content["a"]), 20)
    source = ParquetSource.open(path, features=["c"], weights="b", where=last)
    assert not read
    rows_of(source)
    assert read == [((5,), ("c", "b", "a"))]


def test_a_part_goes_on_where_the_last_one_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    original = pq.ParquetFile.iter_batches

    def noted(*given: Any, **options: Any) -> Any:
        begun.append(given)
        return original(*given, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    path = write(tmp_path / "x.parquet", table(MANY), 4000)
    source = ParquetSource.open(path, limit_bytes=2400)
    assert source.schema.n_chunks == 40
    runs = [range(13), range(13, 40)]
    found = [chunk for run in runs for chunk in map(source.partition(run).open(), run)]
    assert len(begun) == 1
    assert np.array_equal(np.concatenate([chunk.block.values for chunk in found]), MANY)
    assert "rows 0:100 of row group 0" in found[0].name


def test_small_row_groups_are_read_together(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", table(MANY), 100)
    assert ParquetSource.open(path).schema.n_chunks == 1
    assert ParquetSource.open(path, limit_bytes=24 * 1000).schema.n_chunks == 4


def test_a_partition_is_small(tmp_path: Path) -> None:
    for number in range(50):
        write(tmp_path / "many" / f"{number:02}.parquet", table(ROWS), 1)
    source = ParquetSource.open(tmp_path / "many", limit_bytes=24 * 10)
    assert source.schema.n_chunks > 500
    assert len(pickle.dumps(source.partition(range(3)))) < 3000


def test_units_come_from_the_fields(tmp_path: Path) -> None:
    fields = [
        pa.field("t", pa.float64(), metadata={"units": "degC"}),
        pa.field("s", pa.float64(), metadata={"unit": "psu"}),
        pa.field("n", pa.float64()),
    ]
    content = pa.table([[1.0], [2.0], [3.0]], pa.schema(fields))
    source = ParquetSource.open(write(tmp_path / "x.parquet", content))
    assert source.schema.feature_units == ("degC", "psu", None)


class TestFilesThatDiffer:
    def test_a_missing_column(self, tmp_path: Path) -> None:
        home = folder(tmp_path)
        write(home / "z.parquet", table(ROWS[:, :2], "ab"))
        with pytest.raises(SchemaError, match="z.parquet has no column 'c'.*part-0.parquet"):
            ParquetSource.open(home)
        assert ParquetSource.open(home, features=["a"]).schema.n_rows == 202

    def test_another_type(self, tmp_path: Path) -> None:
        home = folder(tmp_path)
        write(home / "z.parquet", pa.table({"a": ["x"], "b": [1.0], "c": [1.0]}))
        with pytest.raises(SchemaError, match="'a' is string in .*z.parquet and double in"):
            ParquetSource.open(home)


class TestFilesThatCannotBeRead:
    def test_nothing_is_there(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="no Parquet file at .*nothing.parquet"):
            open_source(tmp_path / "nothing.parquet")
        (tmp_path / "empty.parquet").mkdir()
        with pytest.raises(SourceError, match="no Parquet file"):
            open_source(tmp_path / "empty.parquet")
        with pytest.raises(SourceError, match="no Parquet file"):
            open_source(str(tmp_path / "*.parquet"))

    def test_no_file_is_whole(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.parquet", table(ROWS))
        truncate(path)
        with pytest.raises(SourceError, match="x.parquet cannot be read as Parquet"):
            ParquetSource.open(path)

    def test_one_is_cut_off(self, tmp_path: Path) -> None:
        home = folder(tmp_path)
        truncate(home / "part-0.parquet")
        source = ParquetSource.open(home)
        assert source.schema.n_rows is None
        with pytest.raises(ChunkError, match="part-0.parquet cannot be read.*on_bad_chunk"):
            rows_of(source)
        with pytest.raises(ChunkError, match="part-0.parquet"):
            GaussianMixture(2).fit(home)

    @pytest.mark.filterwarnings("ignore:Best performing initialization")
    def test_one_is_skipped(self, tmp_path: Path) -> None:
        home = folder(tmp_path)
        truncate(home / "part-0.parquet")
        options = {"max_iter": 5, "random_state": 0, "algorithm": "em"}
        with pytest.warns(UserWarning, match="1 chunk .* skipped|1 chunk"):
            fitted = GaussianMixture(2, on_bad_chunk="skip", **options).fit(home)
        expected = GaussianMixture(2, **options).fit(ROWS[60:])
        assert np.allclose(np.sort(fitted.means_, 0), np.sort(expected.means_, 0), atol=0.5)
        assert fitted.history_[-1].rows == 41
        assert fitted.history_[-1].bad_chunks == 1

    @pytest.mark.parametrize("where", [None, "b > -100"])
    def test_of_joined_row_groups_only_the_bad_one_is_skipped(
        self, tmp_path: Path, where: str | None
    ) -> None:
        path = write(tmp_path / "x.parquet", table(ROWS), 10)
        corrupt(path, 3)
        source = ParquetSource.open(path, where=where)
        with pytest.raises(ChunkError, match="row groups 0 to 10 of .*x.parquet"):
            rows_of(source)
        chunks, bad = source.partition(range(1)).salvage(0)
        assert bad == 1
        found = np.concatenate([chunk.block.values for chunk in chunks])
        assert np.array_equal(found, np.delete(ROWS, slice(30, 40), axis=0))
        positions = np.concatenate(
            [chunk.positions(source.schema.sample_shape) for chunk in chunks]
        )
        assert len(set(positions.tolist())) == 91


class TestFingerprint:
    def test_a_copy_has_the_same_facts(self, tmp_path: Path) -> None:
        first = ParquetSource.open(folder(tmp_path / "1")).fingerprint()
        second = ParquetSource.open(folder(tmp_path / "2")).fingerprint()
        assert not differences(first.facts, second.facts, "", "")
        assert first.written != second.written

    def test_what_is_written_is_seen(self, tmp_path: Path) -> None:
        home = folder(tmp_path)
        source = ParquetSource.open(home)
        before = source.fingerprint()
        assert source.fingerprint() == before
        write(home / "part-2.parquet", table(ROWS[:1] + 1))
        assert source.fingerprint() != before
        (home / "part-2.parquet").unlink()
        assert "files" in differences(before.facts, source.fingerprint().facts, "", "")


class TestKinds:
    def test_by_name(self) -> None:
        assert stored_kind("s3://bucket/x.parquet/") == "parquet"
        assert stored_kind("/data/*.pq") == "parquet"
        assert stored_kind("/data/*.nc") == "netcdf"
        assert stored_kind("x.ZARR") == "zarr"
        assert stored_kind("https://host/x.parquet?sig=a%2Fb") == "parquet"

    def test_by_a_look(self, tmp_path: Path) -> None:
        assert stored_kind(folder(tmp_path)) == "parquet"
        assert stored_kind(hive(tmp_path)) == "parquet"
        assert stored_kind(str(tmp_path / "fol*" / "part-*")) == "parquet"
        (tmp_path / "nc").mkdir()
        (tmp_path / "nc" / "a.nc").touch()
        assert stored_kind(tmp_path / "nc") == "netcdf"
        (tmp_path / "group").mkdir()
        (tmp_path / "group" / "zarr.json").touch()
        assert stored_kind(tmp_path / "group") == "zarr"
        write(tmp_path / "bare", table(ROWS))
        assert stored_kind(tmp_path / "bare") == "parquet"
        assert open_source(tmp_path / "bare").schema.n_rows == 101

    def test_neither(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("hello")
        with pytest.raises(SourceError, match="neither a Zarr store.*notes.txt"):
            stored_kind(tmp_path)
        with pytest.raises(SourceError, match="begins like no"):
            stored_kind(tmp_path / "notes.txt")


def test_a_url(tmp_path: Path) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    content = write(tmp_path / "x.parquet", table(ROWS)).read_bytes()
    for number in range(2):
        files.pipe_file(f"/tables/year={number}/x.parquet", content)
    source = open_source("memory://tables", features=["a", "year"], where="year == 1")
    assert source.local
    assert np.array_equal(rows_of(source), np.column_stack([ROWS[:, 0], np.ones(101)]))
    with pytest.raises(SourceError, match="no Parquet file at memory://nowhere"):
        open_source("memory://nowhere.parquet")
    with pytest.raises(SourceError, match="unknownprotocol.*cannot be opened.*check its protocol"):
        open_source("unknownprotocol://x.parquet")


def test_a_dataset_that_cannot_be_read_by_row_groups() -> None:
    with pytest.raises(SchemaError, match="InMemoryDataset is no Parquet"):
        open_source(ds.dataset(table(ROWS)))


@pytest.mark.parametrize("data", [ROWS, "array.zarr"])
def test_rows_are_selected_only_of_parquet(data: Any) -> None:
    with pytest.raises(SchemaError, match="where= was given.*Parquet"):
        open_source(data, where="a > 0")
    if not isinstance(data, str):
        with pytest.raises(SchemaError, match="where= was given"):
            GaussianMixture(2).fit(data, where="a > 0")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("dask_em.sources.parquet")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError, match=r"pip install 'dask_em\[parquet\]'"):
        open_source(tmp_path / "x.parquet")


@pytest.mark.filterwarnings("ignore:Best performing initialization")
def test_fits_are_those_of_the_rows(tmp_path: Path) -> None:
    """In a file whose chunks are those of the rows in memory, to rounding."""
    path = write(tmp_path / "x.parquet", table(MANY), 500)
    options = {"random_state": 0, "max_iter": 10, "algorithm": "em"}
    stored = GaussianMixture(3, **options).fit(path)
    plain = GaussianMixture(3, **options).fit(MANY)
    assert np.allclose(stored.means_, plain.means_, rtol=1e-9)
    assert np.allclose(stored.score(path), plain.score(MANY), rtol=1e-12)
    assert list(stored.feature_names_in_) == list(NAMES)
    scores = stored.score_samples(path)
    assert scores.shape == (4000,)
    assert np.allclose(scores.compute(), plain.score_samples(MANY))


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_the_columns_are_remembered(tmp_path: Path) -> None:
    content = table(MANY).append_column("year", pa.array(np.arange(4000) % 4))
    path = write(tmp_path / "x.parquet", content, 500)
    fitted = GaussianMixture(2, random_state=0, tol=0.1)
    fitted.fit(path, features=["[ab]"], where="year < 2")
    labels = fitted.predict(MANY[:, :2])
    assert np.array_equal(fitted.predict(path).compute(), labels)
    fitted.save(tmp_path / "model.zarr")
    loaded = dask_em.load(tmp_path / "model.zarr")
    # other columns that the pattern fits, or that are numbers, do not matter
    more = write(tmp_path / "y.parquet", content.append_column("b2", pa.array(MANY[:, 0])))
    assert np.array_equal(loaded.predict(more).compute(), labels)


def test_the_condition_of_a_fit_is_not_that_of_other_rows(tmp_path: Path) -> None:
    content = table(MANY).append_column("year", pa.array(np.arange(4000) % 4))
    path = write(tmp_path / "x.parquet", content, 500)
    fitted = GaussianMixture(2, random_state=0, tol=0.1)
    fitted.fit(path, features=list("abc"), where="year < 2")
    assert fitted.history_[0].rows == 2000
    assert len(fitted.predict(path).compute()) == 4000
    assert len(fitted.predict(path, where="year == 3").compute()) == 1000


@pytest.mark.filterwarnings("ignore:Best performing initialization")
def test_the_same_bits_for_any_number_of_workers(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    for number in range(5):
        write(tmp_path / "many" / f"{number}.parquet", table(MANY + number), 100 + number)
    source = ParquetSource.open(tmp_path / "many", limit_bytes=24 * 300)
    found = []
    for workers in (1, 2, 3):
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                host="127.0.0.1",
            ) as cluster,
            Client(cluster) as client,
        ):
            model = GaussianMixture(3, random_state=0, max_iter=3, tol=0)
            found.append(model.fit(source, client=client).means_.tobytes())
    assert len(set(found)) == 1


def test_weather(shared_data: Path) -> None:
    """Real rows with gaps."""
    path = shared_data / "nyc_weather.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    model = dask_em.PPCA(2, missing="model", random_state=0)
    model.fit(path, features=["temp", "dewp", "wind_*", "pressure"], where="origin == 'JFK'")
    assert model.feature_names_in_[2] == "wind_dir"
    assert model.history_[0].rows == 8706
    assert np.isfinite(model.score(path))
