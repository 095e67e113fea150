"""Zarr stores of planted rows, as large as asked, written chunk by chunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr


def planted_store(
    path: Path, n_bytes: int, d: int = 16, k: int = 16, chunk_bytes: int = 16 << 20
) -> Path:
    """A zstd Zarr array (n, d) of float32 rows drawn from k Gaussians; kept if it is there."""
    chunk = max(1, chunk_bytes // (4 * d))
    n_chunks = max(1, round(n_bytes / (chunk * 4 * d)))
    if (path / "zarr.json").exists():
        return path
    array = zarr.create_array(path, shape=(n_chunks * chunk, d), chunks=(chunk, d), dtype="f4")
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(k, d))
    for i in range(n_chunks):
        rows = rng.standard_normal((chunk, d), dtype=np.float32)
        rows += centres[rng.integers(k, size=chunk)].astype(np.float32)
        # three digits, as instruments have them: such data compress about twofold
        array[i * chunk : (i + 1) * chunk] = np.round(rows, 3)
    return path
