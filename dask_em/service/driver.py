"""Driver: the long task on a worker that does the work of one job, and tells the service of it.

A driver may be dead for the service and not know it: its worker was stopped, or cut off. So all
that it makes is under a name of its own, and counts once the service has said so.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from distributed import Worker, get_worker
from distributed.core import Status
from distributed.utils import sync
from sklearn.exceptions import ConvergenceWarning

from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.task import leave_the_pool
from dask_em.errors import (
    ArchiveError,
    ChunkError,
    ClusterError,
    DaskEmError,
    InputError,
    SourceError,
)
from dask_em.place import Place, parse_place
from dask_em.remote.files import open_files
from dask_em.remote.secrets import without_secrets
from dask_em.service import checkpoints
from dask_em.service.reports import doing, passed, weights_of
from dask_em.service.spec import Fit, Predict, Sweep, parse
from dask_em.service.store import MODEL, OUTPUT, JobStore
from dask_em.service.work import options_of, perform

__all__ = ["drive", "driver_key"]

#: seconds that an answer of the service is waited for
PATIENCE = 10.0
#: seconds between two tries to be heard
PAUSE = 0.5
#: what other drivers would meet as well
LASTING = (FileNotFoundError, ImportError, TypeError, ValueError)
#: lines of the worker's log that are kept of a failure
LOG_LINES = 20


def driver_key(id: str, epoch: int) -> str:
    """The key of the task of a driver."""
    return f"em-driver-{id}-{epoch}"


class UnwantedError(BaseException):
    """Nobody waits for this driver any more. No error, so that nothing takes it for one."""


def drive(id: str, epoch: int) -> None:
    """Do the work of a job; the task that the service submits.

    Parameters
    ----------
    id : str
        Of the job.
    epoch : int
        Of this driver.
    """
    leave_the_pool()
    # how a fit ended is told in the job's log; on a worker's screen nobody sees it
    warnings.filterwarnings("ignore", category=ConvergenceWarning, module=perform.__module__)
    post = _Post(id, epoch)
    with suppress(UnwantedError):
        order = post.tell("begin", worker=post.worker.address)
        try:
            _work(post, order)
        except Exception as error:
            post.check()  # what a worker raises that is going down says nothing of the job
            post.tell_failure(error)


def _work(post: _Post, order: dict[str, Any]) -> None:
    from distributed import get_client

    spec = parse(order["spec"])
    store = JobStore(order["store"], order["options"])
    post.options = {**order["options"], **(spec.data.storage_options or {})}
    own = f"{post.epoch}.{post.run}"
    report = _Report(post, order["passes"])
    with post.beating(order["heartbeat"], report):
        place = checkpoints.begin(store, post.id, order["checkpoint"], own, spec)
        if not isinstance(spec, Predict):
            report.own = lambda: store.forget_checkpoints(post.id, before=own)
        client = get_client(timeout=PATIENCE)
        report.n_threads = sum(client.nthreads().values())
        made = perform(spec, client=client, checkpoint=place, monitor=report)
        post.confirm()  # what it leaves is somebody's, who may have gone on with another driver's
        checkpoints.leave(place, spec)
        text = _save(spec, made, store, post)
        post.tell("finish", text=text)


def _save(spec: Fit | Sweep | Predict, made: Any, store: JobStore, post: _Post) -> str:
    """Put what was made at its places; the bits are the same whoever does it."""
    if isinstance(spec, Predict):
        return "the answers are written"
    made.save(store.inside(post.id, MODEL), overwrite=True, storage_options=store.options)
    if spec.output is not None:
        options = options_of(spec.output, spec.data.storage_options)
        _claim(spec, parse_place(spec.output, options), store, post)
        made.save(spec.output, overwrite=True, storage_options=options)
    return str(made.outcome_.advice)


def _claim(spec: Fit | Sweep, place: Place, store: JobStore, post: _Post) -> None:
    """Refuse to write over what others put at the output of a job while it ran."""
    files = open_files(store.inside(post.id), store.options)
    if not spec.overwrite and not files.exists(OUTPUT) and place.exists():
        raise InputError(
            f"something was put at the output {place} while the job ran, and is not replaced; move "
            "it away, then resume the job"
        )
    post.confirm()
    files.write(OUTPUT, str(place).encode())  # another driver knows that it is the job's own


class _Post:
    """The way to the service, from a thread of a worker."""

    def __init__(self, id: str, epoch: int) -> None:
        self.id, self.epoch = id, epoch
        self.worker: Worker = get_worker()
        self._key = self.worker.get_current_task()
        self.run: int = self.worker.state.tasks[self._key].run_id
        self.options: dict[str, Any] = {}  # of the storage, which may be secret
        self._refused = threading.Event()

    def check(self) -> None:
        """Raise if nobody waits for this driver any more; sends nothing."""
        task = self.worker.state.tasks.get(self._key)
        if (
            self._refused.is_set()
            or task is None
            or task.state not in ("executing", "long-running")
            or task.run_id != self.run
            or self.worker.status not in (Status.running, Status.paused)
        ):
            raise UnwantedError

    def confirm(self) -> None:
        """Raise if nobody waits for this driver any more; asks the service."""
        self.tell("heard", doing="saving", tasks_done=0, tasks=0)

    def tell(self, what: str, **told: Any) -> dict[str, Any]:
        """Tell until it is heard; return the answer.

        Raises
        ------
        UnwantedError
            If the service does not want to hear of this driver any more.
        """
        answer = self._ask(what, told)
        if "refused" in answer:
            self._refused.set()
            raise UnwantedError
        return answer

    def tell_failure(self, error: Exception) -> None:
        """Tell why this driver ends."""
        lines = [line for _, line in self.worker.get_logs(n=LOG_LINES)]
        told = "".join(traceback.format_exception(error))
        told += "".join(f"\n{line}" for line in reversed(lines))
        # the text of an error of the system names the file, its repr does not
        told_well = isinstance(error, DaskEmError | ValueError | OSError)
        sentence = (str(error) if told_well else "") or repr(error)
        self.tell(
            "fail",
            error=without_secrets(sentence, self.options),
            trace=without_secrets(told, self.options),
            lost=_may_pass(error),
        )

    @contextmanager
    def beating(self, seconds: float, report: _Report) -> Iterator[None]:
        """Say every few seconds what is being done."""
        loop: Any = self.worker.loop
        beat = asyncio.run_coroutine_threadsafe(self._beat(seconds, report), loop.asyncio_loop)
        try:
            yield
        finally:
            beat.cancel()

    async def _beat(self, seconds: float, report: _Report) -> None:
        while not self._refused.is_set():
            await asyncio.sleep(seconds)
            with suppress(Exception):  # a word that is not heard is followed by another
                told = await asyncio.wait_for(self._send("heard", report.state()), PATIENCE)
                if "refused" in told:
                    self._refused.set()

    def _ask(self, what: str, told: dict[str, Any]) -> dict[str, Any]:
        """The answer, once there is one."""
        while True:
            self.check()
            with suppress(OSError, TimeoutError):
                answer: dict[str, Any] = sync(
                    self.worker.loop, self._send, what, told, callback_timeout=PATIENCE
                )
                if "unavailable" not in answer:
                    return answer
            time.sleep(PAUSE)

    async def _send(self, what: str, told: dict[str, Any]) -> dict[str, Any]:
        scheduler: Any = self.worker.scheduler
        handler = getattr(scheduler, f"em_{what}")
        answer: dict[str, Any] = await handler(id=self.id, epoch=self.epoch, run=self.run, **told)
        return answer


class _Report(Monitor):
    """Tells the service of passes: what it was told of is in the driver's checkpoint."""

    def __init__(self, post: _Post, known: int) -> None:
        self._post, self._known = post, known
        self._number = 0
        self._weights: list[float] = []
        self._doing, self._done, self._tasks = "starting", 0, 0
        self._lock = threading.Lock()
        self.n_threads = 1
        self.own: Any = None  # called once, when what is the driver's own counts

    def state(self) -> dict[str, Any]:
        """What is being done."""
        return {"doing": self._doing, "tasks_done": self._done, "tasks": self._tasks}

    def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
        with self._lock:
            self._doing, self._done, self._tasks = doing(kind, iteration), 0, n_tasks

    def advance(self) -> None:
        with self._lock:
            self._done += 1

    def waiting(self) -> None:
        self._post.check()

    def reach(self, parameters: Any) -> None:
        self._weights = weights_of(parameters)

    def end(self, record: PassRecord) -> None:
        self._number += 1
        self._doing = "between passes"
        if self._number <= self._known:
            return  # an earlier driver told of it
        told = passed(self._number, record, self.n_threads).told()
        answer = self._post.tell("commit", told=told, weights=self._weights)
        if self.own is not None and answer["counts"]:
            with suppress(OSError, DaskEmError):  # what is old does no harm
                self.own()
            self.own = None


def _may_pass(error: Exception) -> bool:
    """Whether another driver may have more luck."""
    if isinstance(error, ChunkError):
        return False
    if isinstance(error, ClusterError | MemoryError | TimeoutError):
        return True
    if isinstance(error, ArchiveError | SourceError):
        # of those that a store raised; others say that something else is there than expected, or
        # that nothing can open it
        cause = error.__cause__
        return cause is not None and not isinstance(cause, LASTING)
    return isinstance(error, OSError)
