"""Keeper: the store as an event loop uses it, which must not wait for a disk or a network."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import secrets
import socket
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import psutil

from dask_em.errors import ClusterError, DaskEmError, JobStateError, SourceError
from dask_em.remote.secrets import without_secrets
from dask_em.service.checkpoints import abandon
from dask_em.service.config import Settings
from dask_em.service.entry import Entry
from dask_em.service.store import MODEL, JobStore, StoredJob
from dask_em.service.table import Table

__all__ = ["Keeper"]

T = TypeVar("T")

logger = logging.getLogger("dask_em.service")

#: that somebody who deletes a job is kept waiting for what is removed elsewhere
ABANDON_SECONDS = 10.0
#: a model of more bytes is fetched from the store, not from the service
LARGEST_MODEL = 512 * 2**20


class Keeper:
    """Reads and writes a store in threads.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.store = JobStore(settings.store, settings.store_options)
        self._me = secrets.token_hex(8)
        # a few, as one may wait for a network; the order for one job is kept by its lock
        self._threads = ThreadPoolExecutor(4, "dask-em-store")
        self._others = ThreadPoolExecutor(4, "dask-em-beside")
        # of their own: outputs may be where nobody answers ever, and models are fetched meanwhile
        self._drafts = ThreadPoolExecutor(2, "dask-em-drafts")

    async def in_thread(self, call: Callable[..., T], *args: Any) -> T:
        """What a call returns that asks the store."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    async def beside(self, call: Callable[..., T], *args: Any) -> T:
        """What a call returns that may take long, as it asks others; the store waits for none."""
        return await asyncio.get_running_loop().run_in_executor(self._others, call, *args)

    async def keep(self, write: Callable[..., None], *args: Any) -> None:
        """Write something that must not be lost.

        Raises
        ------
        ClusterError
            If it is not written.
        """
        try:
            await self.in_thread(write, *args)
        except (OSError, DaskEmError) as error:
            told = without_secrets(str(error), self.store.options)
            raise ClusterError(
                f"the store {self.store} cannot be written ({told}); free some space, or see that "
                "it can be reached, then try again"
            ) from error

    async def take_back(self, id: str) -> None:
        """Remove what was written of a job that could not be kept as a whole."""
        with suppress(OSError, DaskEmError):
            await self.in_thread(self.store.forget, id)

    async def abandon(self, entry: Entry) -> None:
        """Remove what a job had begun to write beside its outputs.

        If that cannot be removed it stays, and the service's log says so.
        """
        loop, store = asyncio.get_running_loop(), self.store
        try:
            removing = loop.run_in_executor(self._drafts, abandon, store, entry.id, entry.spec)
            await asyncio.wait_for(removing, ABANDON_SECONDS)
        except Exception as error:  # of whatever the outputs are in
            options = {**(store.options or {}), **(entry.spec.data.storage_options or {})}
            told = without_secrets(str(error) or repr(error), options)
            logger.warning("job %s may leave a draft beside its outputs: %s", entry.id, told)

    async def open(self) -> tuple[list[StoredJob], list[str]]:
        """Take over the store: all jobs in it, and what cannot be read of them.

        Raises
        ------
        ClusterError
            If another service of this machine works on it.
        OSError
            If it cannot be read.
        """
        await self.in_thread(self._take_over)
        return await self.in_thread(self.store.load)

    async def close(self) -> None:
        """Leave the store to another service."""
        for beside in (self._others, self._drafts):
            beside.shutdown(wait=False, cancel_futures=True)
        # what is still being written must not come after what another service writes
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self.store.unclaim, self._me)

    async def write_lines(self, table: Table) -> None:
        """Write what people read of jobs, as far as it has changed."""
        for entry in table:
            for name in list(entry.dirty):
                async with entry.files:
                    if table.holds(entry) and not await self._wrote(entry, name):
                        return  # the next one could not be written either

    async def model(self, id: str) -> bytes:
        """A zip of the Zarr store of a job's model.

        Raises
        ------
        JobStateError
            If it is too large to be handed on.
        SourceError
            If it is not there, or cannot be read.
        """
        try:
            return await self.beside(self._zipped, id)
        except DaskEmError:
            raise
        except OSError as error:
            told = without_secrets(str(error), self.store.options)
            raise SourceError(
                f"the model of job {id} cannot be read from {self.store} ({told}); see that it can "
                "be reached, then ask again"
            ) from error

    async def successor(self) -> str | None:
        """The host of another service that has taken over the store, if one has."""
        try:
            who = await self.in_thread(self.store.claimed)
        except (OSError, DaskEmError):
            return None  # it will be heard of when something is to be kept
        if who is None or who.get("id") == self._me:
            return None
        return str(who.get("host"))

    async def _wrote(self, entry: Entry, name: str) -> bool:
        entry.dirty.discard(name)
        lines = entry.written(name)
        try:
            await self.in_thread(self.store.write_lines, entry.id, name, lines)
        except (OSError, DaskEmError) as error:
            entry.dirty.add(name)
            logger.warning("%s of job %s cannot be written: %s", name, entry.id, error)
            return False
        return True

    def _take_over(self) -> None:
        before = self.store.claimed()
        if before is not None and _is_alive(before):
            raise ClusterError(
                f"the store {self.store} is served by process {before.get('pid')} of this "
                "machine; end that, or give another store"
            )
        me = psutil.Process()
        self.store.claim(
            {
                "id": self._me,
                "host": socket.gethostname(),
                "pid": me.pid,
                "created": me.create_time(),
                "started": time.time(),
            }
        )

    def _zipped(self, id: str) -> bytes:
        packed, size = io.BytesIO(), 0
        with zipfile.ZipFile(packed, "w") as archive:
            for name, data in self.store.model_files(id):
                size += len(data)
                if size > LARGEST_MODEL:
                    raise JobStateError(
                        f"the model of job {id} takes more than {LARGEST_MODEL:,} bytes; load it "
                        f"from {without_secrets(self.store.inside(id, MODEL))}"
                    )
                archive.writestr(name, data)
        if not size:
            raise SourceError(f"the model of job {id} is not in {self.store} any more")
        return packed.getvalue()


def _is_alive(who: dict[str, Any]) -> bool:
    """Whether another service of this machine still runs."""
    if who.get("host") != socket.gethostname() or who.get("pid") == os.getpid():
        return False
    try:
        process = psutil.Process(int(who["pid"]))
        if process.status() == psutil.STATUS_ZOMBIE:  # it was killed, its parent does not know yet
            return False
        created = process.create_time()
    except (psutil.Error, KeyError, ValueError, TypeError):
        return False
    # the number may be that of another process by now
    return bool(abs(created - float(who.get("created", 0.0))) < 1.0)
