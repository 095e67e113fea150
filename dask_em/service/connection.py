"""Connection: how the job service of a cluster is asked, over the connections of Dask itself."""

from __future__ import annotations

import asyncio
import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from dask_em.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Connection", "OwnConnection", "found", "patiently"]

T = TypeVar("T")

#: seconds that a scheduler may be gone while it is watched, and between two tries to reach it
PATIENCE, PAUSE = 60.0, 0.5


class Connection:
    """A client of Dask, asked for what only the job service knows."""

    def __init__(self, client: Client) -> None:
        if client.asynchronous or client.status != "running":
            kind = "asynchronous" if client.asynchronous else client.status
            raise ClusterError(f"the client is {kind}; give one that is synchronous and running")
        self._client = client

    def ask(self, what: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        scheduler: Any = self._client.scheduler
        if scheduler is None:
            raise ClusterError(f"the client {self._client!r} is closed; connect with another one")
        try:
            answer = self._client.sync(getattr(scheduler, f"em_{what}"), **asked)
        except OSError as error:
            raise ClusterError(
                f"the scheduler of {self._client!r} does not answer ({error}); see that it runs"
            ) from error
        return _checked(answer, scheduler.address)

    def close(self) -> None:
        """Nothing: whoever made the client closes it."""


class OwnConnection(Connection):
    """A connection of its own, which needs no client: the scheduler knows nothing of it."""

    def __init__(self, address: str, timeout: float) -> None:
        self._address, self._timeout = address, timeout
        self._loop = asyncio.new_event_loop()
        told: Future[Any] = Future()
        threading.Thread(
            target=_serve, args=(self._loop, timeout, told), name="dask-em-client", daemon=True
        ).start()
        self._pool = told.result()
        # jobs that were handed out may ask for as long as they live. The collector of garbage may
        # call this anywhere, so it takes no lock and waits for nothing
        self._finalizer = weakref.finalize(self, _end, self._loop)

    def ask(self, what: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        if not self._finalizer.alive:
            raise ClusterError(f"the connection with {self._address} is closed; connect again")

        async def call() -> Any:
            return await getattr(self._pool(self._address), f"em_{what}")(**asked)

        try:
            answer = asyncio.run_coroutine_threadsafe(call(), self._loop).result()
        except (OSError, TimeoutError, ValueError, TypeError) as error:  # also: no certificate
            raise ClusterError(
                f"no Dask scheduler answers at {self._address} within {self._timeout:g} s "
                f"({error}); check the address, and that one runs there: `dask-em serve`"
            ) from error
        return _checked(answer, self._address)

    def close(self) -> None:
        self._finalizer()


def _serve(loop: asyncio.AbstractEventLoop, timeout: float, told: Future[Any]) -> None:
    """Run an event loop until it is stopped; tell of a pool of connections on it."""
    from distributed.core import ConnectionPool
    from distributed.security import Security

    asyncio.set_event_loop(loop)
    try:
        arguments = Security().get_connection_args("client")
        pool = ConnectionPool(limit=4, timeout=timeout, connection_args=arguments, server=None)
        loop.run_until_complete(pool.start())
    except BaseException as error:
        told.set_exception(error)
        loop.close()
        return
    told.set_result(pool)
    del told  # which would hold the pool
    loop.run_forever()
    with suppress(Exception):  # a scheduler that is gone cannot be left
        loop.run_until_complete(pool.close())
    loop.close()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    with suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(loop.stop)


def _checked(answer: Any, address: str) -> dict[str, Any]:
    if isinstance(answer, dict) and ("value" in answer or "error" in answer):
        return answer
    raise ClusterError(
        f"the scheduler at {address} has no job service ({answer!r}); start it with `--preload "
        "dask_em.preload`, or install it with dask_em.install_service(client)"
    )


def patiently(ask: Callable[[], T], most: float = math.inf) -> T:
    """An answer, though the scheduler may be gone for a while.

    Parameters
    ----------
    ask : callable
    most : float
        Seconds to wait for a scheduler that is gone; a minute if that is less.

    Raises
    ------
    ClusterError
        If it does not come back.
    """
    gone_since: float | None = None
    while True:
        try:
            return ask()
        except ClusterError:
            now = time.monotonic()
            gone_since = now if gone_since is None else gone_since
            if now - gone_since >= min(most, PATIENCE):
                raise
            time.sleep(PAUSE)


def found() -> Client | str:
    """The client that is current, or the address that Dask's configuration has.

    Raises
    ------
    ClusterError
        If there is neither.
    """
    import dask
    from distributed import get_client

    with suppress(ValueError):
        return get_client()
    address: str | None = dask.config.get("scheduler-address", None)
    if not address:
        raise ClusterError(
            "there is no Dask client, and no scheduler is named; give its address (client=, "
            "--scheduler, or DASK_SCHEDULER_ADDRESS), or start a service here: `dask-em serve`"
        )
    return address
