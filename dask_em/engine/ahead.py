"""What is done ahead of its use, in other threads: one item, or several calls at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from inspect import GEN_RUNNING, getgeneratorstate
from typing import TypeVar

__all__ = ["MOST_READS", "ahead", "at_once", "behind", "remote_reads"]

Item = TypeVar("Item")

#: where each request waits for an answer, chunks of so many bytes in all are asked for at a time
REMOTE_BYTES = 64 << 20
#: and at most so many chunks
MOST_READS = 8
#: and what is written waits in at most so many calls, unless one alone is larger
MOST_WRITES, WRITTEN_BYTES = 4, 16 << 20


def ahead(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """Make each item in a second thread while the caller works on the one before."""
    end = object()
    # Dask tells a task's thread by a context variable which worker it belongs to
    run: Callable[..., object] = copy_context().run
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="em-read") as reader:
            coming = reader.submit(run, next, items, end)
            while (item := coming.result()) is not end:
                coming = reader.submit(run, next, items, end)
                yield item  # type: ignore[misc]
                del item
    finally:
        # a Ctrl-C that comes while the second thread is waited for leaves it at work; it ends with
        # the item that it makes
        if getgeneratorstate(items) != GEN_RUNNING:
            items.close()


def at_once(calls: Iterable[Callable[[], Item]], n: int) -> Generator[Item, None, None]:
    """What calls return, in their order, up to `n` of them under way at a time.

    No call begins before it is one of the `n` next ones, the one that is waited for included. One
    at a time, they are made in the thread that asks.
    """
    if n == 1:
        yield from (call() for call in calls)
        return
    waiting: deque[Future[Item]] = deque()
    coming: Iterator[Callable[[], Item]] = iter(calls)
    pool = ThreadPoolExecutor(n, thread_name_prefix="em-fetch")
    try:
        while True:
            while len(waiting) < n and (call := next(coming, None)) is not None:
                waiting.append(pool.submit(copy_context().run, call))
            if not waiting:
                return
            item = waiting.popleft().result()
            # nothing is begun before it is used: it takes the room of one call
            yield item
            del item
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def behind() -> Iterator[Callable[[Callable[[], object], int], None]]:
    """A way to make calls in other threads while more come; all are made when the context ends.

    It takes a call and the bytes that wait for it, and waits itself where they are many. What a
    call raises is raised there, or at the end.
    """
    waiting: deque[tuple[Future[object], int]] = deque()

    def make(call: Callable[[], object], nbytes: int) -> None:
        while waiting and (
            len(waiting) >= MOST_WRITES or nbytes + sum(size for _, size in waiting) > WRITTEN_BYTES
        ):
            waiting.popleft()[0].result()
        waiting.append((pool.submit(copy_context().run, call), nbytes))

    pool = ThreadPoolExecutor(MOST_WRITES, thread_name_prefix="em-write")
    try:
        yield make
        while waiting:
            waiting.popleft()[0].result()
    finally:
        pool.shutdown(cancel_futures=True)


def remote_reads(chunk_bytes: int) -> int:
    """How many chunks a task asks an object store for at a time, so that it seldom waits.

    Parameters
    ----------
    chunk_bytes : int
        Decoded bytes of the largest.
    """
    return max(1, min(MOST_READS, REMOTE_BYTES // max(1, chunk_bytes)))
