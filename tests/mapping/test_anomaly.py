"""Differences from a climatology, beside xarray's own."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray
from numpy.testing import assert_allclose, assert_array_equal

from dask_em import Anomaly, DataError, Groups, InputError, SchemaError
from dask_em.core.records import Record
from dask_em.engine.source import Source
from dask_em.mapping.chain import Chain
from dask_em.mapping.features import Features
from dask_em.sources.arrays import NumpySource
from dask_em.sources.dask import DaskSource
from dask_em.sources.mapped import MappedSource
from tests.sources.named import NamedSource, days_since

RNG = np.random.default_rng(0)
TIMES = (np.datetime64("1999-11-15T03") + np.arange(79) * np.timedelta64(147, "h")).astype("M8[ns]")
LAT, LON = np.linspace(-60, 60, 5), np.linspace(0, 300, 6)
CUBE = RNG.normal(size=(len(TIMES), 5, 6, 2)) * 3 + 280
DIMS = ("time", "lat", "lon")
OCEAN = xarray.Dataset(
    {name: (DIMS, CUBE[..., j]) for j, name in enumerate(["sst", "ssh"])},
    coords={"time": TIMES, "lat": LAT, "lon": LON},
)


LEVELS = RNG.normal(size=(2, 5, 6, 2))


def source(cube: np.ndarray = CUBE, **options: Any) -> NamedSource:
    places = {"time": days_since(TIMES), "lat": LAT, "lon": LON}
    return NamedSource(cube, DIMS, ["sst", "ssh"], {**places, **options})


def read(mapped: Source, step: int | None = None) -> np.ndarray:
    n = mapped.schema.n_chunks
    runs = [range(n)] if step is None else [range(i, min(i + step, n)) for i in range(0, n, step)]
    parts = [pickle.loads(pickle.dumps(mapped.partition(run))) for run in runs]
    rows = [part.open()(i).block.values for part in parts for i in part.chunks]
    return np.concatenate(rows)


def mapped(data: Source, *steps: Any) -> MappedSource:
    return MappedSource(data, Chain.of(steps))


def rows_of(data: xarray.Dataset) -> np.ndarray:
    one = data[["sst", "ssh"]].to_dataarray("feature").transpose(*DIMS, "feature")
    return one.values.reshape(-1, 2)


@pytest.mark.parametrize(
    "part", ["month", "season", "dayofyear", "year", "day", "dayofweek", "hour"]
)
@pytest.mark.parametrize("mean_over", [("time",), ("time", "lat", "lon"), ("time", "lat")])
def test_as_xarray(part: str, mean_over: tuple[str, ...]) -> None:
    grouped = OCEAN.groupby(f"time.{part}")
    climatology = grouped.mean(mean_over)
    found = read(mapped(source(), Anomaly(climatology, by=f"time.{part}")))
    expected = rows_of(grouped - climatology)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert abs(found).max() < 50


def test_of_the_axes_in_another_order() -> None:
    grouped = OCEAN.groupby("time.month")
    climatology = grouped.mean("time").transpose("lon", "month", "lat")[["ssh", "sst"]]
    assert_allclose(
        read(mapped(source(), Anomaly(climatology))),
        rows_of(grouped - climatology.transpose("month", "lat", "lon")),
        atol=1e-12,
    )


def test_the_same_at_all_times() -> None:
    mean = OCEAN.mean("time")
    found = read(mapped(source(), Anomaly(mean, by=None)))
    assert_allclose(found, rows_of(OCEAN - mean), atol=1e-12)
    plain = np.stack([mean["sst"], mean["ssh"]], axis=-1)
    assert_array_equal(read(mapped(source(), Anomaly(plain, by=None))), found)
    whole = OCEAN.mean()
    assert_allclose(read(mapped(source(), Anomaly(whole, by=None))), rows_of(OCEAN - whole))


@pytest.mark.parametrize("unit", ["days", "hours", "seconds"])
def test_times_as_stores_have_them(unit: str) -> None:
    climatology = OCEAN.groupby("time.month").mean()
    found = [
        read(mapped(source(time=time), Anomaly(climatology)))
        for time in (days_since(TIMES, unit), TIMES)
    ]
    assert_array_equal(*found)


def test_arrays_and_groups_by_number() -> None:
    month = TIMES.astype("datetime64[M]").astype(int) % 12
    climatology = OCEAN.groupby("time.month").mean()
    plain = np.stack([climatology["sst"], climatology["ssh"]], axis=-1)
    expected = read(mapped(source(), Anomaly(climatology)))
    assert_array_equal(read(mapped(source(), Anomaly(plain))), expected)
    numbered = (Groups(month), Anomaly(plain, by="groups"))
    assert_array_equal(read(mapped(source(), *numbered)), expected)
    # rows that know no names
    assert_array_equal(read(mapped(NumpySource(CUBE), *numbered)), expected)
    flat = Anomaly(plain.mean(axis=(1, 2)), by="groups")
    found = read(mapped(NumpySource(CUBE), Groups(month), flat))
    assert_array_equal(found, (CUBE - plain.mean(axis=(1, 2))[month][:, None, None]).reshape(-1, 2))


def test_levels_are_features() -> None:
    levels = [200.0, 850.0]
    air = xarray.Dataset({"t": ((*DIMS, "level"), CUBE)}, coords={"time": TIMES, "level": levels})
    climatology = air.groupby("time.month").mean()
    here = NamedSource(CUBE, DIMS, ["t[level=200]", "t[level=850]"], {"time": TIMES})
    expected = read(mapped(source(), Anomaly(OCEAN.groupby("time.month").mean())))
    assert_array_equal(read(mapped(here, Anomaly(climatology))), expected)
    turned = NamedSource(CUBE[..., ::-1], DIMS, ["t[level=850]", "t[level=200]"], {"time": TIMES})
    assert_array_equal(read(mapped(turned, Anomaly(climatology["t"]))), expected[:, ::-1])
    lacking = NamedSource(CUBE, DIMS, ["t[level=200]", "t[level=500]"], {"time": TIMES})
    with pytest.raises(SchemaError, match=r"lacks 't\[level=500\]'; level is \[200.0, 850.0\]"):
        mapped(lacking, Anomaly(climatology))


def test_however_it_is_cut_and_only_what_is_needed_travels() -> None:
    large = np.repeat(CUBE, 40, axis=1)  # several chunks
    lat = np.linspace(-60, 60, 200)
    here = NamedSource(large, DIMS, ["sst", "ssh"], {"time": TIMES, "lat": lat})
    climatology = RNG.normal(size=(12, 200, 6, 2))
    whole = mapped(here, Anomaly(climatology))
    n = whole.schema.n_chunks
    assert n > 3
    month = TIMES.astype("datetime64[M]").astype(int) % 12
    expected = (large - climatology[month]).reshape(-1, 2)
    for step in (None, 1, 2):
        assert_array_equal(read(whole, step), expected)
    inner = here.partition(range(1))
    extra = len(pickle.dumps(whole.partition(range(1)))) - len(pickle.dumps(inner))
    assert extra < climatology.nbytes / 3


def test_partitions_of_one_process_share_the_climatology() -> None:
    whole = mapped(source(), Groups(np.arange(len(TIMES)) % 2), Anomaly(LEVELS, by="groups"))
    parts = [whole.partition(range(1)) for _ in range(2)]
    assert parts[0].mapping is parts[1].mapping
    long = NamedSource(np.zeros((50_000, 2)), ("time",), ["sst", "ssh"])
    groups = Groups(np.arange(50_000) % 2)
    far = mapped(long, groups, Anomaly(LEVELS[:, 0, 0], by="groups")).partition(range(1))
    extra = len(pickle.dumps(far)) - len(pickle.dumps(long.partition(range(1))))
    assert extra < groups.index.nbytes / 2  # of the index what is needed, once


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [1, 2])
def test_memory_that_is_promised(dtype: str, n: int) -> None:
    rows = np.ones((100_000, 3), dtype)
    anomalies = [Anomaly(np.ones((2, 3)), by="groups")] * n
    there = mapped(DaskSource(da.from_array(rows)), Groups(np.arange(len(rows)) % 2), *anomalies)
    read = there.partition(range(1)).open()
    tracemalloc.start()
    chunk = read(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(chunk.block) == len(rows)
    assert peak < there.schema.chunk_bytes + there.schema.decoding_bytes


def test_a_record_comes_back() -> None:
    step = Anomaly(OCEAN.groupby("time.season").mean(), by="time.season")
    chain = Chain((step,)).bound(Features(2, ("sst", "ssh")))
    again = Record.unflatten(*chain.flatten())
    assert isinstance(again, Chain)
    assert chain.equals(again)
    assert_array_equal(
        read(MappedSource(source(), again)),
        read(mapped(source(), Anomaly(OCEAN.groupby("time.season").mean(), by="time.season"))),
    )


def test_answers_are_undone_where_rows_lie() -> None:
    here = mapped(source(), Anomaly(OCEAN.groupby("time.month").mean()))
    part = here.partition(range(here.schema.n_chunks))
    chunk = part.open()(0)
    assert chunk.mapping is not None
    assert_allclose(chunk.mapping.undo(chunk.block.values)[:30], CUBE.reshape(-1, 2)[:30])
    with pytest.raises(InputError, match="when and where rows lie"):
        here.mapping.undo(chunk.block.values, 2)


@pytest.mark.parametrize(
    ("step", "error", "said"),
    [
        (
            lambda: Anomaly(OCEAN.isel(time=slice(0, 30)).groupby("time.month").mean()),
            DataError,
            r"lacks the month 6, 7, 8, 9, 10, to which 25 of 79 times belong",
        ),
        (
            lambda: Anomaly(OCEAN.rename(sst="SST").groupby("time.month").mean()),
            SchemaError,
            r"lacks the feature 'sst'; did you mean 'ssh'",
        ),
        (
            lambda: Anomaly(OCEAN.groupby("time.month").mean().isel(lat=slice(0, 4))),
            SchemaError,
            "4 places along 'lat'.* has 5",
        ),
        (
            lambda: Anomaly(OCEAN.groupby("time.month").mean().isel(lat=slice(None, None, -1))),
            SchemaError,
            "along 'lat' .* the same, the other way round",
        ),
        (
            lambda: Anomaly(OCEAN.groupby("time.month").mean().rename(lat="y")),
            SchemaError,
            "depends on y, but the sample axes .* are time, lat, lon",
        ),
        (
            lambda: Anomaly(OCEAN.groupby("time.season").mean()),
            SchemaError,
            r"along 'month', but this one is along lat, lon, season; give ds.groupby",
        ),
        (
            lambda: Anomaly(np.ones((12, 4, 6, 2))),
            SchemaError,
            r"shape \(12, 4, 6, 2\), but .* needs \(groups, 2\) or \(groups, 5, 6, 2\)",
        ),
        (lambda: Anomaly(np.ones((12, 3))), SchemaError, r"needs \(groups, 2\)"),
        (lambda: Anomaly(np.ones((5, 2))), DataError, "lacks the month 6, 7, 8"),
        (lambda: Anomaly(np.ones((12, 2)), by="groups"), SchemaError, r"give Groups\(index\)"),
        (lambda: Anomaly(np.ones((12, 2)), by="time.moon"), InputError, 'such as "time.month"'),
        (lambda: Anomaly(np.ones((12, 2)), by="date.month"), SchemaError, "are time, lat, lon"),
        (lambda: Anomaly("clim.nc"), InputError, "give an array"),
        (lambda: Anomaly(["a"]), InputError, "give numbers"),
        (lambda: Groups(np.zeros(3, int)), SchemaError, "3 numbers for 79 positions"),
        (lambda: Groups(np.zeros(79, int), 3), SchemaError, "along sample axis 3"),
        (lambda: Groups(np.zeros(79)), InputError, "give a whole number"),
    ],
)
def test_bad_input(step: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        mapped(source(), step())


def test_groups_outside_of_the_climatology() -> None:
    with pytest.raises(DataError, match="belong to group 2, but the climatology has .* 0 to 1"):
        mapped(source(), Groups(np.full(79, 2)), Anomaly(np.ones((2, 2)), by="groups"))


def test_times_that_are_none() -> None:
    climatology = np.ones((12, 2))
    without = NamedSource(CUBE, DIMS, ["sst", "ssh"])
    with pytest.raises(SchemaError, match="has no such coordinate; give the number"):
        mapped(without, Anomaly(climatology))
    for units, calendar in [("days since 2000-01-01", "360_day"), ("months since 2000-01-01", "")]:
        time = days_since(TIMES)
        time = type(time)(time.dims, time.values, {"units": units, "calendar": calendar})
        with pytest.raises(SchemaError, match=f"cannot tell dates from 'time' in units '{units}'"):
            mapped(source(time=time), Anomaly(climatology))
    with pytest.raises(SchemaError, match="have no names"):
        mapped(NumpySource(CUBE), Anomaly(climatology))
