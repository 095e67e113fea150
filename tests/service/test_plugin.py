"""Drivers as tasks of a scheduler: how they end is told in every case."""

from __future__ import annotations

import asyncio

import pytest
from distributed import Scheduler, Worker

from dask_em.service import plugin
from dask_em.service.launcher import DriverEndedError
from tests.service.office import until


def test_a_driver_that_raises_a_cancellation_is_lost_and_not_forgotten(monkeypatch):
    def drive(id, epoch):
        raise asyncio.CancelledError("something in it was cancelled")

    async def lose():
        async with (
            Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler,
            Worker(scheduler.address, nthreads=1),
        ):
            launcher = plugin.DaskLauncher(scheduler)
            try:
                with pytest.raises(DriverEndedError) as found:
                    await launcher.run("ab12", 1)
                assert found.value.lost
            finally:
                await launcher.close()

    monkeypatch.setattr(plugin, "drive", drive)
    asyncio.run(lose())


def test_a_driver_ends_when_nobody_waits_for_it_any_more():
    async def leave():
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
            launcher = plugin.DaskLauncher(scheduler)
            try:
                waiting = asyncio.create_task(launcher.run("ab12", 2))
                await until(lambda: scheduler.tasks)
                waiting.cancel()  # as when the service closes
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                del waiting
                await until(lambda: not scheduler.tasks)
            finally:
                await launcher.close()

    asyncio.run(leave())
