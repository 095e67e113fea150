"""Drivers as tasks of a scheduler: how they end is told in every case."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from distributed import Scheduler, Worker

from dask_em.service import plugin
from dask_em.service.launcher import DriverEndedError
from tests.service.office import until


def scheduled():
    """A scheduler on ephemeral ports of this machine alone."""
    ports = {"port": 0, "dashboard_address": "127.0.0.1:0"}  # it serves HTTP without pages too
    return Scheduler(host="127.0.0.1", dashboard=False, **ports)


@asynccontextmanager
async def launching(scheduler):
    launcher = plugin.DaskLauncher(scheduler)
    try:
        yield launcher
    finally:
        await launcher.close()


def test_a_driver_that_raises_a_cancellation_is_lost_and_not_forgotten(monkeypatch):
    def drive(id, epoch):
        raise asyncio.CancelledError("something in it was cancelled")

    async def lose():
        async with (
            scheduled() as scheduler,
            Worker(scheduler.address, nthreads=1),
            launching(scheduler) as launcher,
        ):
            with pytest.raises(DriverEndedError) as found:
                await launcher.run("ab12", 1)
            assert found.value.lost

    monkeypatch.setattr(plugin, "drive", drive)
    asyncio.run(lose())


def test_a_driver_ends_when_nobody_waits_for_it_any_more():
    async def leave():
        async with scheduled() as scheduler, launching(scheduler) as launcher:
            waiting = asyncio.create_task(launcher.run("ab12", 2))
            await until(lambda: scheduler.tasks)
            waiting.cancel()  # as when the service closes
            with pytest.raises(asyncio.CancelledError):
                await waiting
            del waiting
            await until(lambda: not scheduler.tasks)

    asyncio.run(leave())


def test_a_driver_that_somebody_cancels_is_lost():
    async def cancel():
        async with scheduled() as scheduler, launching(scheduler) as launcher:
            waiting = asyncio.create_task(launcher.run("ab12", 3))
            await until(lambda: scheduler.tasks)
            await launcher.stop("ab12", 3)
            with pytest.raises(DriverEndedError, match="was cancelled, or all workers") as found:
                await waiting
            assert found.value.lost

    asyncio.run(cancel())


running, free = threading.Event(), threading.Event()


def drive_until_free(id, epoch):
    running.set()
    free.wait(30)


def test_a_driver_that_waits_for_a_thread_has_not_begun(monkeypatch):
    async def wait():
        async with (
            scheduled() as scheduler,
            Worker(scheduler.address, nthreads=1, heartbeat_interval="20ms"),
            launching(scheduler) as launcher,
        ):
            try:
                first = asyncio.create_task(launcher.run("first", 1))
                await until(running.is_set)
                second = asyncio.create_task(launcher.run("second", 1))
                await until(lambda: launcher.has_begun("first", 1))  # so that it has been told
                await until(lambda: "em-driver-second-1" in scheduler.tasks)
                given = scheduler.tasks["em-driver-second-1"]
                await until(lambda: given.processing_on is not None)
                assert not launcher.has_begun("second", 1)
                free.set()
                await asyncio.gather(first, second)
                assert not launcher.has_begun("second", 1)
            finally:
                free.set()

    monkeypatch.setattr(plugin, "drive", drive_until_free)
    asyncio.run(wait())
