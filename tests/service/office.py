"""A job service without a cluster: its drivers are what a test says they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dask_em.engine.monitor import PassRecord
from dask_em.service.config import Settings
from dask_em.service.launcher import DriverEndedError, Launcher
from dask_em.service.reports import passed
from dask_em.service.supervisor import Supervisor

FIT = {
    "task": "fit",
    "data": {"url": "/data/rows.zarr"},
    "model": {"kind": "gaussian_mixture", "n_components": 2},
}


class Drivers(Launcher):
    """Drivers that end when a test says so."""

    def __init__(self):
        self.ends, self.launched, self.stopped, self.parted = {}, [], [], []
        self.begun = self.removes = True

    async def run(self, id, epoch):
        self.launched.append((id, epoch))
        self.ends[id, epoch] = asyncio.get_running_loop().create_future()
        try:
            await self.ends[id, epoch]
        except asyncio.CancelledError:
            self.stopped.append((id, epoch))
            raise

    async def stop(self, id, epoch):
        self.stopped.append((id, epoch))
        self.lose(id, epoch, "its driver was cancelled")

    def has_begun(self, id, epoch):
        return self.begun

    async def part_with_worker(self, id, epoch, silence):
        self.parted.append((id, epoch))
        return self.removes

    def lose(self, id, epoch, reason="its worker died", lost=True):
        end = self.ends.get((id, epoch))
        if end is not None and not end.done():
            end.set_exception(DriverEndedError(reason, lost=lost))


def spec(**more):
    return json.dumps({**FIT, **more})


def one_pass(number, objective=-1.0, **more):
    record = PassRecord(
        "em", number, objective, None, 2.0, 1.0, 0.5, 100, 0, 800, 0, 1, None, **more
    )
    return passed(number, record, 1).told()


def ignore(_):
    """Opens nothing."""


@asynccontextmanager
async def service(store, drivers=None, rehearse=ignore, **settings) -> AsyncIterator[Supervisor]:
    quick = {"first_pause": 0.02, "heartbeat": 0.02, "silence": 60.0}
    chosen = Settings.read(**{"store": str(store), **quick, **settings})
    supervisor = Supervisor(chosen, drivers or Drivers(), rehearse)
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.close()


async def until(true, seconds=20.0):
    """Return when something holds; the limit is for what never does."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


async def running(supervisor, id):
    await until(lambda: supervisor.job(id).state == "running")
    return supervisor.job(id).epoch
