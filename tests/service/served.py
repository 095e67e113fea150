"""A real scheduler in a thread of its own, and a plain HTTP client."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import dask
from distributed import Scheduler

from dask_em.service.config import Settings
from dask_em.service.http import install
from tests.service.played import Played

T = TypeVar("T")

ROUTES = "distributed.scheduler.http.routes"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body, parse_constant=_refuse)

    @property
    def error(self) -> dict[str, Any]:
        """The error that it tells, and nothing else."""
        told = self.json()
        assert list(told) == ["error"]
        assert set(told["error"]) == {"status", "kind", "message"}
        assert told["error"]["status"] == self.status
        assert self.headers["Content-Type"] == "application/json"
        return dict(told["error"])


def _refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is no JSON")


@dataclass
class Served:
    """A scheduler with a service behind its HTTP server."""

    scheduler: Scheduler
    service: Played
    loop: asyncio.AbstractEventLoop

    @property
    def port(self) -> int:
        return int(self.scheduler.http_server.port)

    def run(self, work: Callable[[], Awaitable[T]], timeout: float = 30) -> T:
        """Something on the event loop of the scheduler."""

        async def do() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(do(), self.loop).result(timeout)

    def call(self, work: Callable[[], T]) -> T:
        """A function on the event loop of the scheduler."""

        async def do() -> T:
            return work()

        return self.run(do)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        host: str | None = None,
    ) -> Reply:
        """One request on a connection of its own; a body that is no text is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        if host is not None:
            headers["Host"] = host
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def again(self, **settings: Any) -> None:
        """Install with other settings."""
        self.service.settings = _settings(self.service.settings.store, settings)
        self.call(lambda: install(self.scheduler))


@contextmanager
def served(
    *,
    config: dict[str, Any] | None = None,
    address: str = "127.0.0.1:0",
    installed: bool = True,
    **more: Any,
) -> Iterator[Served]:
    """A scheduler on ephemeral ports of this machine, with a service installed."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    settings = more.pop("settings", {})

    async def start(store: str) -> Served:
        with dask.config.set(config or {}):
            scheduler = Scheduler(host="127.0.0.1", port=0, dashboard_address=address, **more)
        await scheduler
        service = Played(_settings(store, settings))
        await service.start()
        scheduler.extensions["em"] = service
        if installed:
            install(scheduler)
        return Served(scheduler, service, loop)

    with TemporaryDirectory(ignore_cleanup_errors=True) as store:
        found = asyncio.run_coroutine_threadsafe(start(store), loop).result(60)
        try:
            yield found
        finally:
            found.run(found.scheduler.close)
            found.run(found.service.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(30)
            loop.close()


def _settings(store: str, given: dict[str, Any]) -> Settings:
    return Settings.read(store=store, **given)
