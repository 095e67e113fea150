"""Preload for tests of faults: reading is slow and counted, passes have several tasks.

It also tells the process of each worker, so that a test can end it, and makes pauses between tries
of requests short.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Worker

from dask_em.engine import plan
from dask_em.remote import patience
from dask_em.sources import tiling
from dask_em.sources.cells import StoredPartition

__all__ = ["FOLDER", "SECONDS", "dask_setup", "small_chunks"]

#: variables of the environment: where to count, and how long a chunk takes to read
FOLDER, SECONDS = "HURTING_FOLDER", "HURTING_SECONDS"
#: of a pass over small data, which would be one
TASKS = 8


@contextmanager
def small_chunks() -> Iterator[None]:
    """No chunks are joined, which decides the bits; for a fit that is compared."""
    before, tiling.TARGET_BYTES = tiling.TARGET_BYTES, 1
    try:
        yield
    finally:
        tiling.TARGET_BYTES = before


def dask_setup(server: Any) -> None:
    """Called by Dask, in a scheduler or a worker."""
    patience.FIRST_PAUSE = 0.01
    if isinstance(server, Worker):
        _hurt(server)


def _hurt(worker: Worker) -> None:
    folder, seconds = Path(os.environ[FOLDER]), float(os.environ[SECONDS])
    port = worker.address.rpartition(":")[2]
    folder.joinpath(f"worker-{port}").write_text(str(os.getpid()))
    tiling.TARGET_BYTES = 1
    plan._n_tasks = lambda n_leaves, *_: min(n_leaves, TASKS)
    read, reads = StoredPartition._read, folder / f"reads-{os.getpid()}"

    def slowly(self: StoredPartition, index: int) -> Any:
        time.sleep(seconds)
        with reads.open("ab") as file:
            file.write(b".")
        return read(self, index)

    StoredPartition._read = slowly  # type: ignore[method-assign]
