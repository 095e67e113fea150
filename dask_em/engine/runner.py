"""Where a pass runs: in this thread, on Dask's threads, or on a Dask cluster."""

from __future__ import annotations

import os
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dask_em.engine.cache import Cache, hold
from dask_em.engine.homes import Homes
from dask_em.engine.limits import one_blas_thread
from dask_em.engine.monitor import Monitor
from dask_em.engine.plan import Resources
from dask_em.engine.reduce import groups, merge
from dask_em.engine.task import (
    BlockLostError,
    Work,
    leave_the_pool,
    own_priority,
    perform,
    unprofiled,
)
from dask_em.engine.waiting import Waiting
from dask_em.engine.workers import workers_of
from dask_em.errors import ClusterError, InputError

if TYPE_CHECKING:
    from distributed import Client, Future

    from dask_em.engine.source import Source

__all__ = ["ClusterRunner", "LocalRunner", "Runner", "SupportsFutures", "choose_runner"]


class Runner(ABC):
    """Maps work over items and merges the results in one fixed tree."""

    resources: Resources

    @abstractmethod
    def reduce(
        self, prefix: str, work: Work, items: Sequence[Any], shared: Any, monitor: Monitor
    ) -> Any:
        """The merged results of a power of two of items; `shared` reaches each worker once."""

    @abstractmethod
    def keeping(self, cache: Cache | None) -> AbstractContextManager[None]:
        """Context in which the chunks of a cache stay where they were read; freed at its end."""


class LocalRunner(Runner):
    """The own process: one task runs where it is, several on Dask's threaded scheduler."""

    def __init__(self, n_threads: int | None = None) -> None:
        n_threads = n_threads or _configured_threads() or _cpu_count()
        self.resources = Resources(n_threads, n_threads, None)

    def reduce(
        self, prefix: str, work: Work, items: Sequence[Any], shared: Any, monitor: Monitor
    ) -> Any:
        stop = Event()

        def run(item: Any) -> Any:
            result = work(item, shared, stop.is_set)
            monitor.advance()
            return result

        with one_blas_thread():
            if len(items) == 1:
                return run(items[0])
            try:
                return self._threaded(prefix, run, items)
            except BaseException:
                stop.set()
                raise

    @contextmanager
    def keeping(self, cache: Cache | None) -> Iterator[None]:
        pins = None if cache is None else hold(cache)
        try:
            yield
        finally:
            del pins

    def _threaded(self, prefix: str, run: Callable[[Any], Any], items: Sequence[Any]) -> Any:
        import dask
        from dask.delayed import delayed

        token = uuid.uuid4().hex[:12]
        # bound, not passed: Dask would look for its own tasks in the graph that an item may carry
        parts = [
            delayed(partial(run, item), pure=False, traverse=False)(
                dask_key_name=f"{prefix}-{token}-{i}"
            )
            for i, item in enumerate(items)
        ]
        whole = delayed(merge, traverse=False)(*parts, dask_key_name=f"em-merge-{token}")
        scheduler = dask.config.get("scheduler", None)
        if scheduler not in ("sync", "synchronous", "single-threaded"):
            scheduler = "threads"  # a client may have set itself, but the rows lie in this process
        options = {"num_workers": self.resources.n_threads} if scheduler == "threads" else {}
        return whole.compute(scheduler=scheduler, optimize_graph=False, **options)


@runtime_checkable
class SupportsFutures(Protocol):
    """A partition that reads what the cluster holds."""

    def futures(self) -> Iterable[Future[Any]]:
        """What must be done before a task reads it."""


class ClusterRunner(Runner):
    """The workers of a `distributed.Client`, which may be that of a Dask task.

    In a task it leaves the task's place to others, so that it can wait for them.
    """

    #: how often a pass is repeated when workers were lost under it
    attempts = 4

    def __init__(self, client: Client, timeout: float = 60.0) -> None:
        if client.asynchronous or client.status != "running":
            kind = "asynchronous" if client.asynchronous else client.status
            raise ClusterError(f"the client is {kind}; give one that is synchronous and running")
        self.client, self.timeout = client, timeout
        self._homes: Homes | None = None
        leave_the_pool()
        # work that a task asks for is as urgent as the task: else it would wait behind all others
        self._priority = own_priority()
        self.resources = _cluster_resources(client, timeout, self._priority)

    def reduce(
        self, prefix: str, work: Work, items: Sequence[Any], shared: Any, monitor: Monitor
    ) -> Any:
        from distributed.client import FutureCancelledError
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        # the work is pure, so a pass that was lost is made again; a task's own error is not lost
        # work. FutureCancelledError is no Exception but an asyncio.CancelledError.
        for attempt in range(self.attempts):
            waiting = Waiting(self.client, self.timeout, monitor)
            self._wait_for_blocks(items, waiting)
            try:
                return self._once(prefix, work, items, shared, monitor, waiting)
            except (BlockLostError, FutureCancelledError, KilledWorker, CommClosedError) as error:
                if error is waiting.refused:
                    raise
                self._still_there(error, last=attempt + 1 == self.attempts)
        raise AssertionError("unreachable")

    @contextmanager
    def keeping(self, cache: Cache | None) -> Iterator[None]:
        self._homes = None if cache is None else Homes(self.client, cache, self._priority)
        try:
            yield
        finally:
            self._homes = None

    def _once(
        self,
        prefix: str,
        work: Work,
        items: Sequence[Any],
        shared: Any,
        monitor: Monitor,
        waiting: Waiting,
    ) -> Any:
        token = uuid.uuid4().hex[:12]
        submit = partial(self.client.submit, pure=False, priority=self._priority)
        everything: list[Future[Any]] = []
        try:
            # a task, not scattered data: the scheduler can make it again when its worker dies
            common = submit(_same, shared, key=f"em-parameters-{token}")
            everything.append(common)
            wishes = [{}] * len(items) if self._homes is None else self._homes.wishes(len(items))
            futures = []
            for i, (item, wish) in enumerate(zip(items, wishes, strict=True)):
                key = f"{prefix}-{token}-{i}"
                futures.append(submit(perform, work, item, common, key=key, **wish))
                everything.append(futures[-1])
                futures[-1].add_done_callback(lambda _: monitor.advance())
            level = 0
            while len(futures) > 1:
                futures = [
                    submit(merge, *group, key=f"em-merge-{token}-{level}-{i}")
                    for i, group in enumerate(groups(futures))
                ]
                everything += futures
                level += 1
            with unprofiled():
                return waiting.result(futures[0])
        except BaseException:
            with suppress(Exception):  # where the scheduler is lost, so are they
                self.client.cancel(everything)  # tasks that run ask for this and stop
            raise

    @staticmethod
    def _wait_for_blocks(items: Iterable[Any], waiting: Waiting) -> None:
        """Return when the blocks that the cluster holds for the items are there.

        A task that waits for a block occupies a thread, which the task that makes it might need.
        """
        leaves = (leaf for item in items if isinstance(item, Sequence) for leaf in item)
        blocks = [
            block
            for leaf in leaves
            if isinstance(leaf, SupportsFutures)
            for block in leaf.futures()
        ]
        for block in blocks:
            waiting.until_done(block)
            if block.status == "cancelled":
                raise ClusterError(
                    f"block {block.key} of a persisted array is on the cluster no more; persist "
                    "the array again"
                )

    def _still_there(self, error: BaseException, last: bool) -> None:
        if self.client.status != "running":
            raise ClusterError(
                f"the scheduler was lost under the fit ({error}); start it again and fit again, "
                "or go on from what is kept (a saved model with warm_start=True, or the same "
                "checkpoint)"
            ) from error
        if last:
            raise ClusterError(
                f"workers were lost in {self.attempts} attempts at one pass ({error}); look at "
                "the workers' logs, and give them more memory or fewer threads"
            ) from error


def choose_runner(source: Source, client: Client | None = None) -> Runner:
    """The client that is given or found, otherwise this process.

    Rows that lie in this process's memory are worked on here.

    Raises
    ------
    InputError
        If a client is given for rows that lie in this process's memory.
    ClusterError
        If the cluster has no workers.
    """
    if source.local:
        if client is not None:
            raise InputError(
                f"{source.schema.describe} lies in this process's memory and is not copied into "
                "the cluster's; store it as Zarr, or give no client and it is fitted here"
            )
        return LocalRunner()
    client = client or _found_client()
    return LocalRunner() if client is None else ClusterRunner(client)


def _found_client() -> Client | None:
    # where distributed was never imported there can be no client, and importing it takes a second
    if "distributed" not in sys.modules:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def _cluster_resources(client: Client, timeout: float, priority: int) -> Resources:
    if not client.scheduler_info()["n_workers"]:
        try:
            # a task, so that a cluster that adapts to its load starts a worker for it
            client.submit(_same, None, pure=False, priority=priority).result(timeout=timeout)
        except TimeoutError as error:
            raise ClusterError(
                f"the cluster of {client!r} has had no worker for {timeout:g} s; start some and "
                "fit again"
            ) from error
    workers = workers_of(client).values()
    limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
    return Resources(
        n_threads=sum(worker["nthreads"] for worker in workers),
        threads_per_worker=max(worker["nthreads"] for worker in workers),
        worker_memory=min(limits) if limits else None,
    )


def _configured_threads() -> int | None:
    """What ``dask.config.set(num_workers=...)`` says, where Dask is in use."""
    if "dask" not in sys.modules:
        return None
    import dask

    configured: int | None = dask.config.get("num_workers", None)
    return configured


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _same(shared: Any) -> Any:
    return shared
