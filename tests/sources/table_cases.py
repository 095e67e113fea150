"""Variants of tables: Parquet in all its shapes, and dask DataFrames."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from dask_em.sources.frames import FrameSource
from dask_em.sources.parquet.source import ParquetSource
from dask_em.testing.sources import SourceCase

RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(101, 3))
NAMES = ("a", "b", "c")
WEIGHTS = np.arange(101) % 4 + 0.5
TALL = RNG.normal(size=(50_000, 2))
GAPS = np.where(RNG.random(ROWS.shape) < 0.2, np.nan, ROWS)


def table(rows: Any, names: Any = NAMES) -> pa.Table:
    return pa.table({name: rows[:, j] for j, name in enumerate(names)})


def write(path: Path, content: pa.Table, rows: int = 40, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, row_group_size=rows, **options)
    return path


def parquet_case(
    name: str, make: Callable[[Path], Any], rows: Any, flat: Any = None, **options: Any
) -> SourceCase:
    def source(scratch: Path) -> ParquetSource:
        return ParquetSource.open(make(scratch), **options)

    return SourceCase(f"parquet-{name}", source, np.ascontiguousarray(rows), flat)


def of(content: Any, **options: Any) -> Callable[[Path], Any]:
    """One file."""
    return lambda scratch: write(scratch / "x.parquet", content, **options)


def folder(scratch: Path) -> Path:
    """Files of unequal lengths, one without rows, and what is not read."""
    home = scratch / "folder"
    for number, part in enumerate((ROWS[:60], ROWS[:0], ROWS[60:61], ROWS[61:])):
        write(home / f"part-{number}.parquet", table(part), 25)
    (home / "_SUCCESS").touch()
    write(home / ".hidden.parquet", table(ROWS))
    write(home / "_draft" / "x.parquet", table(ROWS))
    return home


def paths(scratch: Path) -> list[Path]:
    home = folder(scratch)
    return [home / "part-3.parquet", home / "part-0.parquet"]


def hive(scratch: Path) -> Path:
    home = scratch / "hive"
    for year, part in ((2009, ROWS[:50]), (2010, ROWS[50:])):
        for half, some in enumerate(np.array_split(part, 2)):
            write(home / f"year={year}" / "site=A%20B" / f"{half}.parquet", table(some))
    return home


def years() -> Any:
    return np.repeat([2009.0, 2010.0], [50, 51])


def empty_groups(scratch: Path) -> Path:
    path = scratch / "empty.parquet"
    with pq.ParquetWriter(path, table(ROWS).schema) as writer:
        for part in (ROWS[:0], ROWS[:30], ROWS[:0], ROWS[:0], ROWS[30:], ROWS[:0]):
            writer.write_table(table(part))
    return path


def other_order(scratch: Path) -> Path:
    home = scratch / "order"
    write(home / "0.parquet", table(ROWS[:50]))
    write(home / "1.parquet", table(ROWS[50:]).select(["c", "a", "b"]))
    return home


def mixed(scratch: Path) -> Path:
    """A column that holds integers in one file, and nothing in another."""
    home = scratch / "mixed"
    write(home / "0.parquet", table(ROWS[:50]))
    write(home / "1.parquet", pa.table({"a": np.arange(3), "b": [None] * 3, "c": ROWS[:3, 2]}))
    return home


MIXED = np.vstack([ROWS[:50], np.column_stack([np.arange(3), [np.nan] * 3, ROWS[:3, 2]])])
KINDS = pa.table(
    {
        "nullable": pa.array([1, None, 3, 2**40], pa.int64()),
        "decimal": pa.array([Decimal("1.25"), None, Decimal("-3.50"), Decimal("0.10")]),
        "flag": pa.array([True, False, None, True]),
        "half": pa.array(np.array([0.5, 1.5, 2.5, np.nan], np.float16)),
        "unsigned": pa.array([1, 2, 3, 2**63], pa.uint64()),
        "codes": pa.array([7, 8, None, 7], pa.int16()).dictionary_encode(),
        "single": pa.array([0.1, None, 0.2, 0.3], pa.float32()),
        "text": ["x", "y", "z", "w"],
    }
)
_N = np.nan
OF_KINDS = np.column_stack(
    [
        [1, _N, 3, 2**40], [1.25, _N, -3.5, 0.1], [1, 0, _N, 1], [0.5, 1.5, 2.5, _N],
        [1, 2, 3, 2.0**63], [7, 8, _N, 7],
        np.array([0.1, _N, 0.2, 0.3], np.float32).astype(float),
    ]
)  # fmt: skip
KIND_NAMES = ["nullable", "decimal", "flag", "half", "unsigned", "codes", "single"]
SMALL = pa.table({"a": ROWS[:, 0].astype("f4"), "b": ROWS[:, 1].astype("f2")})
OF_SMALL = np.column_stack([ROWS[:, 0].astype("f4"), ROWS[:, 1].astype("f2").astype("f4")])
WEIGHED = table(ROWS).append_column("w", pa.array(WEIGHTS))

PARQUET = [
    parquet_case("file", of(table(ROWS)), ROWS),
    parquet_case("one-group", of(table(ROWS), rows=1000), ROWS),
    parquet_case("columns", of(table(ROWS)), ROWS[:, [2, 0]], features=["c", "a"]),
    parquet_case("pattern", of(table(ROWS)), ROWS[:, [1, 2, 0]], features=["[bc]", "*"]),
    parquet_case("folder", folder, ROWS),
    parquet_case("glob", lambda scratch: folder(scratch) / "part-*.parquet", ROWS),
    parquet_case("paths", paths, np.vstack([ROWS[61:], ROWS[:60]])),
    parquet_case("dataset", lambda scratch: ds.dataset(folder(scratch), format="parquet"), ROWS),
    parquet_case("hive", hive, ROWS),
    parquet_case(
        "hive-feature", hive, np.column_stack([years(), ROWS[:, 1]]), features=["year", "b"]
    ),
    parquet_case("hive-alone", hive, years()[:, None], features=["year"]),
    parquet_case(
        "hive-where", hive, ROWS[50:][ROWS[50:, 0] > 0],
        where="year >= 2010 and site == 'A B' and a > 0",
    ),
    parquet_case("empty-groups", empty_groups, ROWS),
    parquet_case("tiny-groups", of(table(ROWS), rows=1), ROWS),
    parquet_case("tiny-groups-cut", of(table(ROWS), rows=1), ROWS, limit_bytes=240),
    parquet_case("parts", of(table(TALL, "ab"), rows=50_000), TALL, limit_bytes=2**14),
    parquet_case(
        "parts-of-some", of(table(TALL, "ab"), rows=17_000), TALL, limit_bytes=16 * 16_500
    ),
    parquet_case("other-order", other_order, ROWS),
    parquet_case("mixed-numbers", mixed, MIXED),
    parquet_case("kinds", of(KINDS), OF_KINDS, features=KIND_NAMES),
    parquet_case("float32", of(SMALL), OF_SMALL),
    parquet_case("gaps", of(table(GAPS)), GAPS),
    parquet_case("no-rows", of(table(ROWS[:0])), ROWS[:0]),
    parquet_case("weights", of(WEIGHED), ROWS, WEIGHTS, weights="w"),
    parquet_case("weights-parts", of(WEIGHED), ROWS, WEIGHTS, weights="w", limit_bytes=300),
    parquet_case("weights-in-memory", folder, ROWS, WEIGHTS, weights=WEIGHTS),
    parquet_case("where", of(table(ROWS)), ROWS[ROWS[:, 1] > 0], where="b > 0"),
    parquet_case(
        "where-other-column", of(WEIGHED), ROWS[WEIGHTS != 1.5][:, :1],
        features=["a"], where="not w in [1.5]",
    ),
    parquet_case(
        "where-parts", of(WEIGHED), ROWS[WEIGHTS < 2], WEIGHTS[WEIGHTS < 2],
        features=list("abc"), weights="w", where="w < 2", limit_bytes=400,
    ),
    parquet_case("where-none", of(table(ROWS)), ROWS[:0], where="a > 100"),
]  # fmt: skip


def frame_case(
    name: str, make: Callable[[Path], Any], rows: Any, flat: Any = None, **options: Any
) -> SourceCase:
    def source(scratch: Path) -> FrameSource:
        frame = make(scratch)
        given = {k: v(frame) if callable(v) else v for k, v in options.items()}
        return FrameSource(frame, **given)

    return SourceCase(f"frame-{name}", source, np.ascontiguousarray(rows), flat)


def in_memory(_: Path) -> Any:
    return dd.from_pandas(pd.DataFrame(ROWS, columns=list(NAMES)), npartitions=4)


def weighed(_: Path) -> Any:
    frame = pd.DataFrame(ROWS, columns=list(NAMES)).assign(w=WEIGHTS, text="x")
    return dd.from_pandas(frame, npartitions=4)


def nullable(_: Path) -> Any:
    columns = {
        "i": pd.array([1, None, 3, 4], "Int64"),
        "f": pd.array([0.5, None, 2.5, 3.5], "Float64"),
        "arrow": pd.array([1.5, 2.5, None, 4.5], pd.ArrowDtype(pa.float64())),
        "flag": pd.array([True, None, False, True], "boolean"),
    }
    return dd.from_pandas(pd.DataFrame(columns), npartitions=2)


OF_NULLABLE = np.column_stack(
    [[1, _N, 3, 4], [0.5, _N, 2.5, 3.5], [1.5, 2.5, _N, 4.5], [1, _N, 0, 1]]
)

FRAMES = [
    frame_case("rows", in_memory, ROWS),
    frame_case("columns", in_memory, ROWS[:, [2, 0]], features=["c", "a"]),
    frame_case("pattern", in_memory, ROWS[:, 1:], features=["[bc]"]),
    frame_case("empty-partitions", lambda s: in_memory(s).query("index > 30"), ROWS[31:]),
    frame_case(
        "float32", lambda s: in_memory(s).astype("float32"), ROWS.astype("float32")
    ),
    frame_case("nullable", nullable, OF_NULLABLE, features=["i", "f", "arrow", "flag"]),
    frame_case("parquet", lambda s: dd.read_parquet(hive(s)), ROWS, features=["a", "b", "c"]),
    frame_case("persisted", lambda s: in_memory(s).persist(scheduler="sync"), ROWS),
    frame_case("weights", weighed, ROWS, WEIGHTS, weights="w"),
    frame_case("weights-series", weighed, ROWS[:, :1], WEIGHTS, features=["a"],
               weights=lambda frame: frame["w"]),
    frame_case("weights-array", weighed, ROWS[:, :1], WEIGHTS, features=["a"],
               weights=lambda frame: frame["w"].values),
]  # fmt: skip
