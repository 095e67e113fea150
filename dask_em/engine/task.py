"""A task of a pass on a worker of a cluster: it ends early when it is not wanted or in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import Any, TypeAlias, final

from dask_em.engine.limits import one_blas_thread, reuse_memory
from dask_em.errors import ClusterError

__all__ = [
    "BlockLostError", "Work", "leave_the_pool", "make_way", "own_priority", "perform",
    "unprofiled",
]  # fmt: skip

#: what a task does: its item, what all tasks share, and a question it asks now and then: stop?
Work: TypeAlias = Callable[[Any, Any, Callable[[], bool]], Any]


class BlockLostError(ClusterError):
    """A block that was persisted on the cluster is not there when a task wants it."""


def perform(work: Work, item: Any, shared: Any) -> Any:
    """Do a task's work in the thread that a worker gave it."""
    from distributed import Reschedule

    unwanted = _Unwanted()
    reuse_memory()
    with one_blas_thread():
        try:
            return work(item, shared, unwanted)
        except InterruptedError:
            if not unwanted.said:
                raise
            # no error: the worker drops the task silently, or runs it anew if it is wanted again
            raise Reschedule from None


@final
class _Unwanted:
    """Asks whether this thread's task was cancelled; may be called from any thread."""

    def __init__(self) -> None:
        from distributed import get_worker

        worker = get_worker()
        self._task = worker.state.tasks[worker.get_current_task()]
        self.said = False

    def __call__(self) -> bool:
        # the worker's event loop writes the state; to read it takes no lock and no message
        self.said = self.said or self._task.state == "cancelled"
        return self.said


def make_way(key: Any) -> None:
    """Free the thread that waits for a lost block: the cluster may need it to make the block.

    Raises
    ------
    BlockLostError
        In a thread that reads ahead. Only the task that it reads for can free its thread.
    """
    from distributed import get_worker

    if not leave_the_pool():
        with suppress(ValueError):  # not on a worker, so in nobody's way
            get_worker()
            raise BlockLostError(f"block {key} of a persisted array was lost with its worker")


def leave_the_pool() -> bool:
    """Free the thread of the Dask task in which this runs, because it will only wait.

    Returns
    -------
    bool
        Whether this runs in the thread of a Dask task.
    """
    from distributed import secede

    if _worker() is None:
        return False
    with suppress(KeyError):  # it has left already
        secede()
    return True


@contextmanager
def unprofiled() -> Iterator[None]:
    """Keep Dask's profiler from the thread of the Dask task in which this runs, as it only waits.

    A hundred times a second it walks, on the event loop, the stack of every thread that has a task.
    That of a fit is deep, and cost a pass of 1 s some 10 ms on the worker that computes too.
    """
    worker, thread = _worker(), get_ident()
    if worker is None:
        yield
        return
    with worker.active_threads_lock:
        key = worker.active_threads.pop(thread, None)
    try:
        yield
    finally:
        if key is not None:  # Dask takes it out when the task ends
            with worker.active_threads_lock:
                worker.active_threads[thread] = key


def own_priority() -> int:
    """The priority of the Dask task in which this runs, as `Client.submit` has it; 0 elsewhere."""
    worker = _worker()
    if worker is None:
        return 0
    task = worker.state.tasks.get(worker.get_current_task())
    # the scheduler sorts what is most urgent first
    return -int(task.priority[0]) if task is not None and task.priority else 0


def _worker() -> Any:
    """The worker whose task has this thread; None in any other thread."""
    from distributed.worker import thread_state  # type: ignore[attr-defined]

    state = getattr(thread_state, "execution_state", None)
    return None if state is None else state["worker"]
