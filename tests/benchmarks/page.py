"""What open pages cost the scheduler, in CPU seconds per second.

python -m tests.benchmarks.page                  10 pages of Em, 20 jobs of a pass per second each
python -m tests.benchmarks.page --path status    the same of Dask's own first page
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median

import psutil
from bokeh.protocol import Protocol
from bokeh.util.token import generate_jwt_token, generate_session_id
from tornado.websocket import WebSocketClientConnection, websocket_connect

PERIOD = 1.0  # seconds of a pass
SETTLE_SECONDS = 4.0


def serve(told: Connection, jobs: int, passes: int) -> None:
    """A scheduler whose supervisor is busy, until the process is ended."""
    import dask

    # sessions of pages that were closed go away before the next window
    own = "distributed.scheduler.dashboard.bokeh-application.unused_session_lifetime_milliseconds"
    with dask.config.set({own: 500}):
        asyncio.run(_serve(told, jobs, passes))


async def _serve(told: Connection, jobs: int, passes: int) -> None:
    from distributed import Scheduler

    from dask_em.dashboard import install
    from tests.dashboard.reports import Reports

    async with Scheduler(
        host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0", dashboard=True
    ) as scheduler:
        reports = Reports()
        scheduler.extensions["em"] = reports
        for i in range(jobs):
            reports.begin(f"job{i:04d}", weights=(0.125,) * 8, tasks=64, max_passes=100_000)
            reports.read(f"job{i:04d}", passes)
        install(scheduler)
        told.send(scheduler.http_server.port)
        names = list(reports.views)
        await asyncio.gather(*(_work(reports, names[i], i / jobs) for i in range(jobs)))


async def _work(reports: object, id: str, phase: float) -> None:
    from tests.dashboard.reports import Reports

    assert isinstance(reports, Reports)
    await asyncio.sleep(phase * PERIOD)
    while True:
        weights = [random.random() for _ in range(8)]
        reports.read(id)
        reports.change(id, weights=tuple(one / sum(weights) for one in weights), tasks_done=0)
        await asyncio.sleep(PERIOD / 2)
        reports.change(id, tasks_done=32)
        await asyncio.sleep(PERIOD / 2)


@dataclass
class Pages:
    """Open pages: what a browser's websockets are to the scheduler."""

    url: str
    connections: list[WebSocketClientConnection]
    readers: list[asyncio.Task[None]]
    messages: int = 0
    nbytes: int = 0

    @classmethod
    async def opened(cls, url: str, n: int) -> Pages:
        pages = cls(url, [], [])
        for _ in range(n):
            token = generate_jwt_token(generate_session_id())
            connection = await websocket_connect(url, subprotocols=["bokeh", token])
            for _ in range(3):  # what is sent before is refused
                await connection.read_message()
            request = Protocol().create("PULL-DOC-REQ")
            for part in (request.header_json, request.metadata_json, request.content_json):
                await connection.write_message(part)
            pages.connections.append(connection)
            pages.readers.append(asyncio.create_task(pages._read(connection)))
        return pages

    async def _read(self, connection: WebSocketClientConnection) -> None:
        while (message := await connection.read_message()) is not None:
            self.messages += 1
            self.nbytes += len(message)

    async def close(self) -> None:
        for connection in self.connections:
            connection.close()
        for reader in self.readers:
            with suppress(asyncio.CancelledError):
                await reader


async def share(process: psutil.Process, seconds: float) -> float:
    """CPU seconds of a process per second of wall time."""
    loop = asyncio.get_running_loop()
    began, before = loop.time(), process.cpu_times()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return used / (loop.time() - began)


async def measure(pid: int, url: str, pages: int, pairs: int, seconds: float) -> None:
    """Print the CPU of the scheduler without and with pages, in pairs of windows."""
    process = psutil.Process(pid)
    rises = []
    for _ in range(pairs):
        without = await share(process, seconds)
        opened = await Pages.opened(url, pages)
        await asyncio.sleep(SETTLE_SECONDS)
        opened.messages = opened.nbytes = 0
        with_pages = await share(process, seconds)
        told = opened.messages / pages / seconds, opened.nbytes / pages / seconds
        await opened.close()
        await asyncio.sleep(SETTLE_SECONDS)
        rises.append(with_pages - without)
        print(
            f"{without:7.2%} without, {with_pages:7.2%} with {pages} pages: {rises[-1]:+.2%}; "
            f"each was sent {told[0]:.1f} frames and {told[1] / 1000:.1f} kB per second",
            flush=True,
        )
    print(f"median rise {median(rises):+.2%} of one core")


def main() -> None:
    """Start a scheduler, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", default="em")
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--passes", type=int, default=200, help="of each job, before")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, asked.jobs, asked.passes))
    process.start()
    try:
        url = f"ws://127.0.0.1:{here.recv()}/{asked.path}/ws"
        assert process.pid is not None
        asyncio.run(measure(process.pid, url, asked.pages, asked.pairs, asked.seconds))
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    main()
