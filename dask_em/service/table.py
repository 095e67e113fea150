"""Table: the jobs that a service holds, and who waits for one to change."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator

from dask_em.core.names import nearest
from dask_em.errors import UnknownJobError
from dask_em.service.entry import Entry
from dask_em.service.job import Job, State
from dask_em.service.queue import due
from dask_em.service.spec import Predict
from dask_em.service.view import JobView

__all__ = ["Table"]


class Table:
    """Jobs by their ids, and by the keys under which they were submitted."""

    def __init__(self) -> None:
        # of the last change; above all that were before the scheduler started again
        self.version = int(1000 * time.time())
        self._entries: dict[str, Entry] = {}
        self._by_key: dict[str, Entry] = {}
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Entry]:
        # of a copy: others may come and go while somebody waits
        return iter(list(self._entries.values()))

    def jobs(self) -> list[Job]:
        """What is known of all jobs that decides."""
        return [entry.job for entry in self]

    def entry(self, id: str) -> Entry:
        """A job.

        Raises
        ------
        UnknownJobError
            If there is none of that name.
        """
        try:
            return self._entries[id]
        except KeyError:
            near = nearest(id, sorted(self._entries))
            raise UnknownJobError(f"there is no job {id!r}; {near}") from None

    def holds(self, entry: Entry) -> bool:
        """Whether a job is still there."""
        return self._entries.get(entry.id) is entry

    def under(self, key: str | None) -> Entry | None:
        """The job that was submitted under a key."""
        return None if key is None else self._by_key.get(key)

    def hold(self, entry: Entry) -> None:
        """Add a job."""
        self._entries[entry.id] = entry
        if entry.key is not None:
            self._by_key[entry.key] = entry
        self.touch(entry)

    def drop(self, entry: Entry) -> None:
        """Hold a job no more."""
        self._entries.pop(entry.id, None)
        if entry.key is not None and self._by_key.get(entry.key) is entry:
            del self._by_key[entry.key]
        self.touch(entry)

    def is_written_by_others(self, entry: Entry) -> bool:
        """Whether a job that has not ended writes answers where another one did.

        They share drafts if they give the same, also where their specifications are not the same.
        """
        return any(
            one is not entry and not one.job.state.ended and _answers(one) & _answers(entry)
            for one in self
        )

    def touch(self, entry: Entry) -> None:
        """A job has changed: whoever waits for that hears of it."""
        self.version += 1
        entry.version = self.version
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, id: str | None, version: int, timeout: float) -> int:
        """Return when a job, or any, has changed since a version, or after some seconds."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.version if id is None else self.entry(id).version
            left = deadline - time.monotonic()
            if found > version or left <= 0:
                return found
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue

    def new_id(self) -> str:
        """A name that no job has."""
        while (name := secrets.token_hex(4)) in self._entries:
            pass
        return name

    def next_order(self) -> int:
        """The place of a job that is submitted now."""
        return 1 + max((entry.job.order for entry in self), default=0)

    def view(self, id: str) -> JobView:
        """What is seen of a job."""
        entry = self.entry(id)
        queued = entry.job.state is State.queued
        return entry.view(self._positions().get(id) if queued else None)

    def views(
        self, state: str | None = None, owner: str | None = None, tag: str | None = None
    ) -> list[JobView]:
        """What is seen of some jobs, the one that was submitted last first."""
        positions = self._positions()
        return [
            entry.view(positions.get(entry.id))
            for entry in sorted(self, key=lambda one: -one.job.order)
            if (state is None or entry.job.state == state)
            and (owner is None or entry.job.owner == owner)
            and (tag is None or _has(entry, tag))
        ]

    def _positions(self) -> dict[str, int]:
        """The places of jobs in the queue, counted from 1, if nothing else came."""
        waiting = sum(entry.job.state is State.queued for entry in self)
        order = due(self.jobs(), most_running=1 << 30, now=float("inf")) if waiting else []
        return {job.id: number for number, job in enumerate(order, 1)}


def _answers(entry: Entry) -> set[str]:
    """Where a job writes answers."""
    return set(entry.spec.outputs.values()) if isinstance(entry.spec, Predict) else set()


def _has(entry: Entry, tag: str) -> bool:
    name, separator, value = tag.partition("=")
    tags = entry.spec.tags
    return name in tags and (not separator or tags[name] == value)
