"""Waiting for a cluster, which may have lost its workers, while somebody may lose patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future as Told
from concurrent.futures import wait
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

from dask_em.engine.monitor import Monitor
from dask_em.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Waiting"]

#: seconds between two questions to the monitor, of which it is promised two a second
ASKED = 0.4
#: seconds between two questions to the scheduler, which cost it a message each
LOOKED = 5.0


class Waiting:
    """Waits for what a cluster works on, as long as there is anybody to work on it.

    Parameters
    ----------
    client : distributed.Client
    timeout : float
        Seconds for which a cluster may have no worker.
    monitor : Monitor
        Asked all the while; what it raises ends the waiting.

    Attributes
    ----------
    refused : BaseException or None
        What the monitor raised.
    """

    def __init__(self, client: Client, timeout: float, monitor: Monitor) -> None:
        self._client, self._timeout, self._monitor = client, timeout, monitor
        self.refused: BaseException | None = None
        self._idle_since: float | None = None
        self._looked = time.monotonic()

    def until_done(self, future: Future[Any]) -> None:
        """Return when a future is done, whatever came of it.

        Raises
        ------
        ClusterError
            If there is no worker for too long.
        """
        while not future.done():
            with suppress(TimeoutError):
                future.exception(timeout=ASKED)
                continue
            self._ask()

    def result(self, future: Future[Any]) -> Any:
        """What came of a future, brought here; its error is raised.

        It may take long to bring large sums here, and longer where their worker dies meanwhile: so
        it is done beside this thread.
        """
        told: Told[Any] = Told()
        Thread(target=_tell, args=(told, future.result), name="em-result", daemon=True).start()
        while not wait([told], timeout=ASKED).done:
            self._ask()
        return told.result()

    def _ask(self) -> None:
        try:
            self._monitor.waiting()
        except BaseException as error:
            self.refused = error
            raise
        now = time.monotonic()
        if now - self._looked < LOOKED:
            return
        self._looked = now
        if self._client.status != "running" or self._client.scheduler_info()["n_workers"]:
            self._idle_since = None
            return
        self._idle_since = self._idle_since or now
        if now - self._idle_since > self._timeout:
            raise ClusterError(
                f"the cluster has had no worker for {self._timeout:g} s; start some and fit again"
            )


def _tell(told: Told[Any], found: Callable[[], Any]) -> None:
    try:
        told.set_result(found())
    except BaseException as error:  # also a FutureCancelledError, which is no Exception
        told.set_exception(error)
