"""One line per variant of every source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
import dask.array as da
import numpy as np
import zarr

from dask_em import Anomaly, Centre, Groups, Log, RowMask, Scale, Select, Standardize
from dask_em.mapping.chain import Chain
from dask_em.sources.arrays import NumpySource
from dask_em.sources.dask import DaskSource
from dask_em.sources.mapped import MappedSource
from dask_em.sources.zarr import ZarrSource
from dask_em.testing.sources import SourceCase

RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(101, 3))
CUBE = RNG.normal(size=(6, 7, 5, 3))
FLAT = CUBE.reshape(-1, 3)
WEIGHTS = np.arange(101) % 4 + 0.5
CUBE_WEIGHTS = np.arange(6 * 7 * 5).reshape(6, 7, 5) % 5 + 0.25
INTEGERS = RNG.integers(-9, 9, size=(101, 3))
# large enough for several chunks in memory
TALL = RNG.normal(size=(60_000, 2))
MASKED = np.ma.MaskedArray(ROWS, mask=ROWS > 1)

READS = []


def counted(block: Any) -> Any:
    # dask calls a function with an empty block to learn its dtype
    if block.size:
        READS.append(block.shape)
    return block


def reads() -> int:
    return len(READS)


def numpy_case(name: str, values: Any, rows: Any, **options: Any) -> SourceCase:
    weights = options.get("weights")
    flat = None if weights is None else np.asarray(weights, float).reshape(-1)
    return SourceCase(f"numpy-{name}", lambda _: NumpySource(values, **options), rows, flat)


NUMPY = [
    numpy_case("c", ROWS, ROWS),
    numpy_case("many-chunks", TALL, TALL),
    numpy_case("fortran", np.asfortranarray(TALL), TALL),
    numpy_case("strided", TALL[::-3, ::-1], np.ascontiguousarray(TALL[::-3, ::-1])),
    numpy_case("nd", CUBE, FLAT),
    numpy_case("nd-large", TALL.reshape(3, 100, 200, 2), TALL),
    numpy_case(
        "nd-transposed", CUBE.transpose(2, 0, 1, 3), CUBE.transpose(2, 0, 1, 3).reshape(-1, 3)
    ),
    numpy_case("float32", ROWS.astype("f4"), ROWS.astype("f4")),
    numpy_case("float16", ROWS.astype("f2"), ROWS.astype("f2").astype("f4")),
    numpy_case("big-endian", ROWS.astype(">f8"), ROWS),
    numpy_case("int", INTEGERS, INTEGERS.astype(float)),
    numpy_case("bool", ROWS > 0, (ROWS > 0).astype(float)),
    numpy_case("masked", MASKED, MASKED.filled(np.nan)),
    numpy_case("empty", ROWS[:0], ROWS[:0]),
    numpy_case("weights", ROWS, ROWS, weights=WEIGHTS),
    numpy_case("weights-nd", CUBE, FLAT, weights=CUBE_WEIGHTS),
    numpy_case("weights-flat", CUBE, FLAT, weights=CUBE_WEIGHTS.reshape(-1)),
    numpy_case("names", ROWS, ROWS, feature_names=["a", "b", "c"]),
]


def dask_case(
    name: str,
    make: Callable[[], Any],
    rows: Any,
    weights: Callable[[], Any] | None = None,
    flat: Any = None,
    **options: Any,
) -> SourceCase:
    def source(_: Path) -> DaskSource:
        return DaskSource(make(), None if weights is None else weights())

    return SourceCase(f"dask-{name}", source, rows, flat, **options)


def unknown() -> Any:
    array = da.from_array(ROWS, chunks=(20, 3))
    return array[array[:, 0] > -0.5]


def empty_chunks() -> Any:
    array = da.from_array(ROWS, chunks=(10, 3))
    return array[da.arange(101, chunks=10) >= 25]


def delayed() -> Any:
    parts = [
        da.from_delayed(dask.delayed(counted)(part), part.shape, dtype=float)
        for part in np.array_split(ROWS, 4)
    ]
    return da.concatenate(parts)


def lazy() -> Any:
    return (da.from_array(ROWS, chunks=(17, 2)) * 2).map_blocks(counted, dtype=float) / 2


DASK = [
    dask_case("rows", lambda: da.from_array(ROWS, chunks=(13, 3)), ROWS),
    dask_case("one-chunk", lambda: da.from_array(ROWS, chunks=-1), ROWS),
    dask_case("irregular", lambda: da.from_array(ROWS, chunks=((50, 1, 50), 3)), ROWS),
    dask_case("features-chunked", lambda: da.from_array(ROWS, chunks=(13, 1)), ROWS),
    dask_case("nd", lambda: da.from_array(CUBE, chunks=(4, 2, 5, 2)), FLAT),
    dask_case(
        "float32", lambda: da.from_array(ROWS.astype("f4"), chunks=(9, 3)), ROWS.astype("f4")
    ),
    dask_case("int", lambda: da.from_array(INTEGERS, chunks=(9, 2)), INTEGERS.astype(float)),
    dask_case(
        "masked", lambda: da.from_array(MASKED, chunks=(9, 2), asarray=False), MASKED.filled(np.nan)
    ),
    dask_case("lazy", lazy, ROWS, probe=reads),
    dask_case("delayed", delayed, ROWS, probe=reads),
    dask_case(
        "lambda", lambda: da.from_array(ROWS, chunks=8).map_blocks(lambda b: b * 2), ROWS * 2
    ),
    dask_case("unknown", unknown, ROWS[ROWS[:, 0] > -0.5]),
    dask_case("unknown-empty-chunks", empty_chunks, ROWS[25:]),
    dask_case(
        "persisted", lambda: da.from_array(ROWS, chunks=(13, 2)).persist(scheduler="sync"), ROWS
    ),
    dask_case("no-rows", lambda: da.from_array(ROWS[:0], chunks=3), ROWS[:0]),
    dask_case(
        "weights",
        lambda: da.from_array(ROWS, chunks=(13, 2)),
        ROWS,
        lambda: da.from_array(WEIGHTS, chunks=13),
        WEIGHTS,
    ),
    dask_case(
        "weights-in-memory",
        lambda: da.from_array(CUBE, chunks=(4, 2, 5, 2)),
        FLAT,
        lambda: CUBE_WEIGHTS.reshape(-1),
        CUBE_WEIGHTS.reshape(-1),
    ),
    dask_case(
        "weights-unknown",
        unknown,
        ROWS[ROWS[:, 0] > -0.5],
        lambda: abs(unknown()[:, 1]) + 1,
        abs(ROWS[ROWS[:, 0] > -0.5][:, 1]) + 1,
    ),
]


def array_case(name: str, rows: Any, data: Any, opened: Any = None, **options: Any) -> SourceCase:
    def make(scratch: Path) -> ZarrSource:
        path = scratch / "array.zarr"
        zarr.create_array(path, data=data, overwrite=True, **options)
        return ZarrSource.open(path, **(opened or {}))

    return SourceCase(f"zarr-{name}", make, rows, (opened or {}).get("weights"))


def grid_stores(scratch: Path, zarr_format: int = 3, **options: Any) -> Path:
    """u on (time, y, x), v on (x, time, y), t with levels between: one grid in three orders."""
    path = scratch / "group.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    for name, dims, values in [
        ("u", ["time", "y", "x"], CUBE[..., 0]),
        ("v", ["x", "time", "y"], CUBE[..., 1].transpose(2, 0, 1)),
        ("t", ["time", "level", "y", "x"], CUBE[..., 1:].transpose(0, 3, 1, 2)),
        ("level", ["level"], np.array([200.0, 850.0])),
        ("weight", ["y", "time", "x"], CUBE_WEIGHTS.transpose(1, 0, 2)),
    ]:
        named = {"dimension_names": dims} if zarr_format == 3 else {}
        array = group.create_array(name, data=values, **named, **options)
        if zarr_format == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = dims
    return path


def group_case(
    name: str,
    rows: Any,
    features: list[str],
    sample_dims: Any = None,
    flat: Any = None,
    **given: Any,
) -> SourceCase:
    opened = {key: given.pop(key) for key in ("weights",) if key in given}

    def make(scratch: Path) -> ZarrSource:
        path = grid_stores(scratch, **given)
        return ZarrSource.open(path, features=features, sample_dims=sample_dims, **opened)

    return SourceCase(f"zarr-group-{name}", make, rows, flat)


def packed(scratch: Path) -> ZarrSource:
    array = zarr.create_array(
        scratch / "packed.zarr", data=INTEGERS.astype("i2"), chunks=(10, 3), overwrite=True
    )
    array.attrs.update(_FillValue=-3, missing_value=[4, 5], scale_factor=0.5, add_offset=10.0)
    return ZarrSource.open(scratch / "packed.zarr")


def through_fsspec(_: Path) -> ZarrSource:
    url = f"memory://{uuid4().hex}/array.zarr"
    zarr.create_array(url, data=CUBE, chunks=(2, 3, 2, 2))
    return ZarrSource.open(url)


def s3_case(url: str, options: Any) -> SourceCase:
    """An array of `FLAT` on an object store."""
    return SourceCase("zarr-s3", lambda _: ZarrSource.open(url, storage_options=options), FLAT)


def in_memory(_: Path) -> ZarrSource:
    array = zarr.create_array(zarr.storage.MemoryStore(), data=ROWS, chunks=(20, 3))
    return ZarrSource.open(array)


UNPACKED = np.where(np.isin(INTEGERS, [-3, 4, 5]), np.nan, INTEGERS * 0.5 + 10)
GRID = ("time", "y", "x")
TURNED = CUBE.transpose(2, 1, 0, 3).reshape(-1, 3)
NAMED = {"dimension_names": ["a", "b", "c", "d"]}

ZARR = [
    array_case("v3", ROWS, ROWS, chunks=(10, 3)),
    array_case("v2", ROWS, ROWS, chunks=(10, 3), zarr_format=2),
    array_case("v2-fortran", ROWS, ROWS, chunks=(10, 3), zarr_format=2, order="F"),
    array_case("sharded", FLAT, CUBE, chunks=(2, 7, 1, 3), shards=(4, 7, 5, 3)),
    array_case("features-chunked", FLAT, CUBE, chunks=(2, 3, 2, 2)),
    array_case("uncompressed", ROWS, ROWS, chunks=(10, 3), compressors=None),
    array_case("many-cells", TALL, TALL, {"limit_bytes": 2**14}, chunks=(1000, 2)),
    array_case("float32", ROWS.astype("f4"), ROWS.astype("f4"), chunks=(10, 3)),
    array_case("float16", ROWS.astype("f2").astype("f4"), ROWS.astype("f2"), chunks=(10, 3)),
    array_case("big-endian", ROWS, ROWS.astype(">f8"), chunks=(10, 3)),
    array_case("int", INTEGERS.astype(float), INTEGERS, chunks=(10, 3)),
    array_case("no-rows", ROWS[:0], ROWS[:0], chunks=(10, 3)),
    array_case("weights", ROWS, ROWS, {"weights": WEIGHTS}, chunks=(10, 3)),
    array_case(
        "dims", TURNED, CUBE, {"sample_dims": ["c", "b", "a"]}, chunks=(4, 3, 2, 2), **NAMED
    ),
    array_case(
        "dims-some",
        CUBE.transpose(1, 0, 2, 3).reshape(7, -1),
        CUBE,
        {"sample_dims": ["b"]},
        chunks=(4, 3, 2, 2),
        **NAMED,
    ),
    group_case("grid", FLAT[:, :2], ["u", "v"], GRID, chunks="auto"),
    group_case("default", FLAT[:, :2], ["u", "v"]),
    group_case("one", FLAT[:, 1:2], ["v"], GRID),
    group_case("turned", TURNED, ["u", "t"], ("x", "y", "time")),
    group_case("v2", FLAT[:, [1, 2, 0]], ["t", "u"], GRID, zarr_format=2),
    group_case("weights", FLAT[:, :1], ["u"], GRID, CUBE_WEIGHTS.reshape(-1), weights="weight"),
    SourceCase("zarr-packed", packed, UNPACKED),
    SourceCase("zarr-memory", in_memory, ROWS),
    SourceCase("zarr-fsspec", through_fsspec, FLAT),
]


def in_store(scratch: Path, data: Any, **options: Any) -> ZarrSource:
    path = scratch / "array.zarr"
    zarr.create_array(path, data=data, overwrite=True, **options)
    return ZarrSource.open(path)


def mapped_cases(name: str, steps: list[Any], expected: Callable[[Any], Any]) -> list[SourceCase]:
    """Steps over each kind of source; `expected` is what they make of CUBE in float64."""

    def case(kind: str, make: Callable[[Path], Any], dtype: str = "f8") -> SourceCase:
        rows = expected(CUBE.astype(dtype).astype("f8")).astype(dtype)
        return SourceCase(
            f"mapped-{name}-{kind}",
            lambda scratch: MappedSource(make(scratch), Chain.of(steps)),
            rows.reshape(-1, rows.shape[-1]),
        )

    return [
        case("numpy", lambda _: NumpySource(CUBE)),
        case("numpy-float32", lambda _: NumpySource(CUBE.astype("f4")), "f4"),
        case("dask", lambda _: DaskSource(da.from_array(CUBE, chunks=(4, 2, 5, 2)))),
        case("zarr", lambda at: in_store(at, CUBE, chunks=(2, 3, 2, 2))),
        case("zarr-float32", lambda at: in_store(at, CUBE.astype("f4"), chunks=(4, 3, 5, 3)), "f4"),
    ]


MEANS, SPREADS = np.array([0.5, -30.0, 1e5]), np.array([2.0, 0.1, 3.0])
NORMALS = RNG.normal(size=(2, 7, 5, 3))
HALVES = np.array([1, 0, 0, 1, 1, 0])
KEPT = RNG.random((7, 5)) > 0.5


def logarithms(cube: Any) -> Any:
    one = np.where(cube[..., 1] > 0, cube[..., 1], np.nan)  # NaN has a sign, too
    return np.stack([cube[..., 0], np.log(one), cube[..., 2]], axis=-1)


MAPPED = [
    *mapped_cases("nothing", [Select([0, 1, 2])], lambda cube: cube),
    *mapped_cases(
        "standardize",
        [Standardize(means=MEANS, scales=SPREADS)],
        lambda cube: (cube - MEANS) / SPREADS,
    ),
    *mapped_cases("scale", [Scale(SPREADS, MEANS)], lambda cube: cube * SPREADS + MEANS),
    *mapped_cases("log", [Log([1])], logarithms),
    *mapped_cases(
        "select", [Select([2, 0]), Centre([1.0, 2.0])], lambda cube: cube[..., [2, 0]] - [1, 2]
    ),
    *mapped_cases(
        "anomaly",
        [Groups(HALVES), Anomaly(NORMALS, by="groups")],
        lambda cube: cube - NORMALS[HALVES],
    ),
    *mapped_cases("mask", [RowMask(KEPT)], lambda cube: cube),
    SourceCase(
        "mapped-weights",
        lambda _: MappedSource(NumpySource(ROWS, WEIGHTS), Chain.of(Scale(2.0))),
        ROWS * 2,
        WEIGHTS,
    ),
    SourceCase(
        "mapped-unknown",
        lambda _: MappedSource(DaskSource(unknown()), Chain.of(Scale(2.0))),
        ROWS[ROWS[:, 0] > -0.5] * 2,
    ),
    SourceCase(
        "mapped-lazy",
        lambda _: MappedSource(DaskSource(lazy()), Chain.of(Scale(2.0))),
        ROWS * 2,
        probe=reads,
    ),
]
