"""What a task changes in the process where it runs: BLAS threads, and how memory is reused."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from threading import Lock
from types import TracebackType
from typing import Any

__all__ = ["one_blas_thread", "reuse_memory"]

# parameters of mallopt, from glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
#: blocks below this come from a heap; glibc admits no more
HEAP_BYTES = 32 << 20
#: so much free memory at the end of a heap is kept for the next block
KEPT_BYTES = 64 << 20


class _OneThread:
    """Keeps BLAS to one thread while any task of the process is inside.

    The limit belongs to the process, so the first task sets it and the last one lifts it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tasks = 0
        self._controller: Any = None
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._tasks == 0:
                self._limit = self._found().limit(limits=1, user_api="blas")
            self._tasks += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._tasks -= 1
            if self._tasks == 0:
                self._limit.restore_original_limits()

    def _found(self) -> Any:
        """The BLAS libraries of the process; they are looked for once."""
        if self._controller is None:
            import scipy.linalg  # noqa: F401  only a library that is loaded is found
            from threadpoolctl import ThreadpoolController

            self._controller = ThreadpoolController()
        return self._controller


_one_thread = _OneThread()


def one_blas_thread() -> _OneThread:
    """Context in which BLAS uses one thread; tasks may enter it side by side."""
    return _one_thread


@cache
def reuse_memory() -> None:
    """Let blocks reuse the memory of those before, on a worker too; once for a process.

    Nannies set ``MALLOC_TRIM_THRESHOLD_``, and that ends glibc's adapting to the sizes that a
    program asks for: every block would be mapped, faulted in page by page and unmapped, which
    takes about as long as decoding it from zstd. These are the values that glibc adapts to.
    """
    if sys.platform.startswith("linux") and "MALLOC_TRIM_THRESHOLD_" in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(TRIM_THRESHOLD, KEPT_BYTES)
            mallopt(MMAP_THRESHOLD, HEAP_BYTES)
            # each heap keeps memory, and readers come and go with their tasks
            mallopt(ARENA_MAX, max(4, 2 * (os.cpu_count() or 1)))
