"""One BLAS thread per task, in whatever process the task runs."""

from __future__ import annotations

from threading import Lock
from types import TracebackType
from typing import Any

__all__ = ["one_blas_thread"]


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
