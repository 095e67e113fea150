"""Sources for tests: made of given chunks, and scripted to be slow or to fail."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dask_em.core.block import Block
from dask_em.engine.source import Chunk, Partition, Reader, Schema, Source
from dask_em.errors import ChunkError


@dataclass(frozen=True)
class Script:
    """What happens to the reader of one chunk, once if `once` names a file to remember it by."""

    chunk: int
    action: str  # "fail", "kill" or "nan"
    once: Path | None = None

    def due(self, index: int) -> bool:
        if index != self.chunk:
            return False
        if self.once is None:
            return True
        try:
            self.once.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class MadePartition(Partition):
    rows: np.ndarray
    size: int
    seconds: float
    script: Script | None

    def open(self) -> Reader:
        def read(index: int) -> Chunk:
            time.sleep(self.seconds)
            values = self.rows[index * self.size : (index + 1) * self.size]
            if self.script is not None and self.script.due(index):
                if self.script.action == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.script.action == "fail":
                    raise ChunkError(f"chunk {index} cannot be decoded (scripted)")
                values = np.full_like(values, np.nan)
            start = index * self.size
            region = (slice(start, start + len(values)),)
            return Chunk(index, f"chunk {index}", Block(values), region)

        return read


class MadeSource(Source):
    """Rows of an array, a fixed number to the chunk; they travel with the partition."""

    def __init__(
        self,
        rows: np.ndarray,
        size: int,
        *,
        seconds: float = 0.0,
        script: Script | None = None,
        local: bool = False,
    ) -> None:
        self.rows, self.size, self.seconds, self.script = rows, size, seconds, script
        self.local = local
        n, d = rows.shape
        self.schema = Schema(
            n_features=d,
            dtype=rows.dtype,
            sample_shape=(n,),
            n_chunks=-(-n // size),
            chunk_bytes=min(size, n) * d * rows.dtype.itemsize,
            feature_names=None,
            describe="made rows",
            sample_chunks=(tuple(min(size, n - start) for start in range(0, n, size)),),
        )

    def partition(self, chunks: range) -> Partition:
        return MadePartition(
            chunks, self.rows, self.size, self.seconds, self.script,
            reads_at_once=self.reads_at_once,
        )  # fmt: skip


def clusters(n: int = 4000, d: int = 3, k: int = 3) -> np.ndarray:
    """Rows of k overlapping Gaussians, in random order."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.normal(size=(k, d))
    return centres[rng.integers(k, size=n)] + rng.normal(size=(n, d))


def overlapping(n: int = 40_000, k: int = 3, d: int = 2) -> np.ndarray:
    """Components that plain EM takes hundreds of passes to tell apart."""
    rng = np.random.default_rng(7)
    which = rng.integers(k, size=n)
    means, spreads = 1.2 * rng.normal(size=(k, d)), rng.uniform(0.6, 1.4, size=(k, d))
    return means[which] + spreads[which] * rng.normal(size=(n, d))
