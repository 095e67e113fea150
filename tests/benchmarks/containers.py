"""A pass over a Zarr store that xarray opened, beside one over the store itself.

``python -m tests.benchmarks.containers [--megabytes M] [--repeats R]`` on the threads of a local
machine. A pass is the score of a small mixture, so that reading is most of it. Runs are paired.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
import xarray

from dask_em import GaussianMixture

FEATURES, DIMS = ["u", "v", "t", "q"], ("time", "lat", "lon")
GRID = (256, 512)


def store(path: Path, megabytes: int, times_per_chunk: int, packed: bool) -> Path:
    """Four float32 variables, or int16 ones with scale, offset and fill value."""
    n = max(times_per_chunk, round(megabytes * 2**20 / 16 / (GRID[0] * GRID[1])))
    n -= n % times_per_chunk
    rng = np.random.default_rng(0)
    encoding: dict[str, Any] = {
        name: {"chunks": (times_per_chunk, *GRID)}
        | ({"dtype": "i2", "scale_factor": 0.01, "_FillValue": -32768} if packed else {})
        for name in FEATURES
    }
    some = rng.normal(size=(times_per_chunk, *GRID)).round(3).astype("f4")
    values = {name: (DIMS, np.concatenate([some + i] * (n // times_per_chunk)))
              for i, name in enumerate(FEATURES)}  # fmt: skip
    made = xarray.Dataset(values, {"time": np.arange(n), "lat": np.arange(GRID[0])})
    made.to_zarr(path, encoding=encoding, consolidated=False)
    return path


def seconds(model: GaussianMixture, data: Any) -> float:
    begin = time.perf_counter()
    model.score(data, features=FEATURES, sample_dims=DIMS)
    return time.perf_counter() - begin


def compare(name: str, path: Path, repeats: int) -> None:
    some = np.random.default_rng(0).normal(size=(1000, 4))
    model = GaussianMixture(2, covariance_type="diag", random_state=0).fit(some)
    ways = {
        "open_zarr": xarray.open_zarr(path, consolidated=False),
        "open_zarr(chunks=None)": xarray.open_zarr(path, consolidated=False, chunks=None),
    }
    bare: list[float] = []
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        bare.append(seconds(model, path))
        for way, data in ways.items():
            found[way].append(seconds(model, data))
    told = ", ".join(
        f"{way} {median(one / other for one, other in zip(times, bare, strict=True)):.2f} x"
        for way, times in found.items()
    )
    print(f"{name:<28} bare {median(bare):.2f} s; {told}")


def main(megabytes: int, repeats: int) -> None:
    for name, chunk, packed in (
        ("float32, chunks of 16 MB", 32, False),
        ("float32, chunks of 1 MB", 2, False),
        ("int16 packed, chunks of 8 MB", 32, True),
    ):
        with TemporaryDirectory() as folder:
            compare(name, store(Path(folder, "s.zarr"), megabytes, chunk, packed), repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    main(given.megabytes, given.repeats)
