"""Plugin: the service in a scheduler, with drivers as its tasks."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from typing import TYPE_CHECKING, Any

from distributed import Client
from distributed.client import Future, FutureCancelledError
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import KilledWorker
from distributed.security import Security

from dask_em.errors import DaskEmError
from dask_em.service.config import Settings
from dask_em.service.driver import drive, driver_key
from dask_em.service.handlers import handlers_of
from dask_em.service.launcher import DriverEndedError, Launcher
from dask_em.service.supervisor import Supervisor
from dask_em.service.work import rehearse

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, WorkerState

__all__ = ["NAME", "ServicePlugin"]

logger = logging.getLogger("dask_em.service")

#: of the plugin, and of the scheduler's extension that holds the supervisor
NAME = "em"
#: a resource that workers may offer for drivers
RESOURCE = "em-driver"
#: seconds between two tries to start
PAUSE = 2.0


class ServicePlugin(SchedulerPlugin):
    """Installs the job service in a scheduler.

    Parameters
    ----------
    **settings
        Others than Dask's configuration has, see `Settings`.
    """

    name = NAME
    idempotent = True

    def __init__(self, **settings: Any) -> None:
        self._given = settings
        self._starting: asyncio.Task[None] | None = None

    async def start(self, scheduler: Scheduler) -> None:
        """Begin to serve. A store that cannot be read is tried again, and told."""
        settings = Settings.read(**self._given)
        self._launcher = DaskLauncher(scheduler)
        self.supervisor = Supervisor(settings, self._launcher, rehearse)
        scheduler.extensions[NAME] = self.supervisor
        scheduler.handlers.update(handlers_of(self.supervisor))
        if not await self._has_started():
            self._starting = asyncio.create_task(self._start_later())

    async def close(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        await self.supervisor.close()
        await self._launcher.close()

    def valid_workers_downscaling(
        self, scheduler: Scheduler, workers: list[WorkerState]
    ) -> list[WorkerState]:
        """Those that no driver works on."""
        return [worker for worker in workers if not _has_driver(worker)]

    async def _start_later(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            if await self._has_started():
                return

    async def _has_started(self) -> bool:
        try:
            await self.supervisor.start()
        except (OSError, DaskEmError) as error:
            self.supervisor.not_yet(str(error))
            logger.warning("the job service cannot start: %s; tried again", error)
            return False
        logger.info("jobs are kept in %s", self.supervisor.store)
        return True


class DaskLauncher(Launcher):
    """Runs drivers as tasks, whose futures a client in the scheduler's own process holds.

    So the life of a job hangs on no client.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._futures: dict[str, Future[None]] = {}

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                self._client = await Client(
                    self._scheduler.address,
                    asynchronous=True,
                    set_as_default=False,
                    security=_as_client(self._scheduler.security),
                    name="em-service",
                    direct_to_workers=False,
                )
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def run(self, id: str, epoch: int) -> None:
        key = driver_key(id, epoch)
        client = await self._connected()
        offered = self._scheduler.resources.get(RESOURCE)
        self._futures[key] = future = client.submit(
            drive,
            id,
            epoch,
            key=key,
            pure=False,
            priority=100,
            resources={RESOURCE: 1} if offered else None,
        )
        try:
            await future
        except (FutureCancelledError, asyncio.CancelledError):
            # of the future, or raised by the driver, unless it is this task that is to end
            this = asyncio.current_task()
            if this is not None and this.cancelling():
                raise  # with the last reference to the future its task is cancelled
            raise DriverEndedError(
                "its driver was cancelled, or all workers were restarted", lost=True
            ) from None
        except KilledWorker as error:
            raise DriverEndedError(str(error).split(".  ")[0], lost=True) from None
        except Exception as error:  # of the worker: it could not even begin
            trace = "".join(traceback.format_exception(error))
            reason = f"its driver cannot run: {error!r}"
            raise DriverEndedError(reason, lost=False, trace=trace) from error
        finally:
            self._futures.pop(key, None)

    async def stop(self, id: str, epoch: int) -> None:
        future = self._futures.get(driver_key(id, epoch))
        if future is not None and self._client is not None:
            await self._client.cancel([future])

    def has_begun(self, id: str, epoch: int) -> bool:
        task = self._scheduler.tasks.get(driver_key(id, epoch))
        worker = None if task is None else task.processing_on
        # not before the worker says so: all its threads may have long tasks of others
        return worker is not None and task in worker.executing

    async def part_with_worker(self, id: str, epoch: int, silence: float) -> bool:
        task = self._scheduler.tasks.get(driver_key(id, epoch))
        worker = None if task is None else task.processing_on
        if worker is None:
            return False
        # a worker that stopped with its driver may have been heard of a little later: were it
        # kept, tasks of the next driver would wait for it
        if time.time() - worker.last_seen < silence / 2:
            return False
        await self._scheduler.remove_worker(
            worker.address, stimulus_id=f"em-silent-{driver_key(id, epoch)}"
        )
        return True


def _as_client(security: Any) -> Security | None:
    """The certificate of the scheduler in the role of a client."""
    if not security.tls_scheduler_cert:
        return None
    return Security(
        tls_ca_file=security.tls_ca_file,
        tls_client_cert=security.tls_scheduler_cert,
        tls_client_key=security.tls_scheduler_key,
        require_encryption=security.require_encryption,
    )


def _has_driver(worker: WorkerState) -> bool:
    return any(str(task.key).startswith("em-driver-") for task in worker.processing)
