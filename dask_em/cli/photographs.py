"""scikit-learn's bundled photographs as a store of pixels, tiled to any size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from dask_em.core.records import Array

__all__ = ["FEATURES", "n_tiles", "panorama", "write_tiles"]

#: what a pixel is, as a row
FEATURES = ("red", "green", "blue", "row", "column")
#: levels of colour that each tile's noise may add or take
NOISE = 8


def panorama() -> Array:
    """(y, x, 3) uint8: the two photographs side by side."""
    from sklearn.datasets import load_sample_images

    return np.concatenate(load_sample_images().images, axis=1)


def n_tiles(image: Array, nbytes: int) -> int:
    """How many tiles have about so many bytes as rows."""
    height, width = image.shape[:2]
    tile = 4 * int(height) * int(width) * len(FEATURES)
    return max(1, round(nbytes / tile))


def write_tiles(path: Path, image: Array, tiles: int, advance: Callable[[], None]) -> None:
    """Write the image that many times, each with noise of its own, one tile to a chunk.

    Parameters
    ----------
    path : Path
        Of the Zarr array, of shape (tile, y, x, feature); it is removed again if this fails.
    advance : callable
        Called when a tile has been written.
    """
    import zarr
    from zarr.codecs import BloscCodec

    shape = (*image.shape[:2], len(FEATURES))
    try:
        array = zarr.create_array(
            path,
            shape=(tiles, *shape),
            chunks=(1, *shape),
            dtype=np.float32,
            compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=4),
            dimension_names=("tile", "y", "x", "feature"),
            attributes={"features": list(FEATURES), "origin": "scikit-learn's sample images"},
        )
        _in_threads(lambda tile: _write_tile(array, image, tile), tiles, advance)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _in_threads(work: Callable[[int], None], n: int, advance: Callable[[], None]) -> None:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        try:
            for done in as_completed([threads.submit(work, item) for item in range(n)]):
                done.result()
                advance()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _write_tile(array: Any, image: Array, tile: int) -> None:
    rng = np.random.default_rng(tile)
    pixels = np.empty((*image.shape[:2], len(FEATURES)), np.float32)
    noise = rng.integers(-NOISE, NOISE, size=image.shape, dtype=np.int8, endpoint=True)
    np.add(image, noise, out=pixels[..., :3], dtype=np.float32)
    pixels[..., 3] = np.arange(image.shape[0], dtype=np.float32)[:, None]
    pixels[..., 4] = np.arange(image.shape[1], dtype=np.float32)
    array[tile] = pixels
