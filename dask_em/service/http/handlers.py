"""Handlers of the routes: what is checked before an operation runs, and its answer written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from dask_em.core.names import nearest
from dask_em.errors import ClusterError, InputError
from dask_em.service.http.answers import JSON
from dask_em.service.http.bounded import Bounded
from dask_em.service.http.exposure import check_exposure
from dask_em.service.http.faults import Refusal
from dask_em.service.http.operations import Call
from dask_em.service.http.parameters import parse
from dask_em.service.http.table import TABLE, Operation, Route

if TYPE_CHECKING:
    from distributed import Scheduler

    from dask_em.service.supervisor import Supervisor

__all__ = ["Endpoint", "Unknown", "close_streams"]

#: what is still written to clients, so that it can be ended
_streams: WeakKeyDictionary[Scheduler, set[asyncio.Task[None]]] = WeakKeyDictionary()


def close_streams(scheduler: Scheduler) -> None:
    """End what clients still follow."""
    for task in _streams.pop(scheduler, set()):
        task.cancel()


class Endpoint(Bounded):
    """One route of the table."""

    def initialize(self, route: Route, dask_server: Scheduler) -> None:
        self.route = route
        self.scheduler = dask_server
        self.pouring: asyncio.Task[None] | None = None

    async def answer(self) -> None:
        operation = self._operation()
        if self.body:
            self._check_type()
        service = self._service()
        if operation.changes:
            check_exposure(self.scheduler, service.settings.token)
        answer = await operation.run(self._call(service, operation))
        self.give(answer)
        if answer.stream is not None:
            await self._follow(answer.stream)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self.pouring is not None:
            self.pouring.cancel()

    def _operation(self) -> Operation:
        method = str(self.request.method)
        known = self.route.operations
        if method in known:
            return known[method]
        allowed = ", ".join(known)
        raise Refusal(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            f"{method} is no method of {self.request.path}; it has {allowed}",
            {"Allow": allowed},
        )

    def _check_type(self) -> None:
        found = self.request.headers.get("Content-Type", "")
        if found.partition(";")[0].strip().lower() == JSON:
            return
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            InputError.__name__,
            f"the body is {found!r}; send JSON, with Content-Type: {JSON}",
        )

    def _service(self) -> Supervisor:
        service = self.scheduler.extensions.get("em")
        if service is None:
            raise ClusterError(
                "no job service runs on this scheduler; start it with --preload dask_em.preload, "
                "or wait until it has started"
            )
        return cast("Supervisor", service)

    def _call(self, service: Supervisor, operation: Operation) -> Call:
        return Call(
            service=service,
            path=self.request.path,
            job=self.path_args[0] if self.path_args else "",
            query=parse(operation.parameters, self.request.query_arguments),
            headers=self.request.headers,
            body=bytes(self.body),
        )

    async def _follow(self, stream: AsyncGenerator[bytes, None]) -> None:
        """Write a stream until it ends, the client leaves or the scheduler closes."""
        self.pouring = task = asyncio.create_task(self._pour(stream))
        tasks = _streams.setdefault(self.scheduler, set())
        tasks.add(task)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            tasks.discard(task)
        if not task.cancelled():
            task.result()

    async def _pour(self, stream: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(stream):
            await self.flush()  # the headers, however long the first piece takes
            async for piece in stream:
                self.write(piece)
                await self.flush()


class Unknown(Bounded):
    """What lies below the service's address and is not there."""

    def initialize(self, dask_server: Scheduler) -> None:
        """Take what every handler of a scheduler is given."""

    async def answer(self) -> None:
        path = self.request.path
        known = [route.path for route in TABLE]
        raise Refusal(
            HTTPStatus.NOT_FOUND,
            "UnknownRoute",
            f"there is nothing at {path!r}; {nearest(path, known)}",
        )
