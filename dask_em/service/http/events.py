"""Server-sent events: a job as it changes, and its passes as they come."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from dask_em.service.http.answers import Answer, as_json
from dask_em.service.job import State

if TYPE_CHECKING:
    from dask_em.service.supervisor import Supervisor

__all__ = ["follow"]

#: seconds without a change after which a comment tells proxies that somebody is there
KEEP_ALIVE = 15.0


@dataclass(frozen=True)
class _Seen:
    """How far a client is: what stands in the `id` of each event."""

    version: int  # of the job
    number: int  # of the last pass

    def __str__(self) -> str:
        return f"{self.version}-{self.number}"


def follow(service: Supervisor, job: str, after: int, last_event_id: str | None) -> Answer:
    """The events of a job from where a client is.

    A client that comes back after the last event of a job that has ended is told by an empty
    answer not to come again.

    Parameters
    ----------
    service : Supervisor
    job : str
    after : int
        The number of the last pass that the client knows.
    last_event_id : str, or None
        The `id` of the last event that it saw; it goes before `after`.
    """
    view = service.job(job)
    seen = _parse(last_event_id) or _Seen(-1, after)
    if seen.version > view.version:  # of a service that counted otherwise
        seen = replace(seen, version=-1)
    if State(view.state).ended and seen.version == view.version:
        return Answer(HTTPStatus.NO_CONTENT)
    headers = {"X-Accel-Buffering": "no"}
    return Answer(content="text/event-stream", headers=headers, stream=_events(service, job, seen))


async def _events(service: Supervisor, job: str, seen: _Seen) -> AsyncGenerator[bytes, None]:
    """The pieces; if the job is deleted meanwhile, they end with an error that nobody is told."""
    while True:
        view = service.job(job)
        for one in service.trace(job, seen.number):
            seen = replace(seen, number=one.number)
            yield _event("pass", seen, vars(one))
        if view.version > seen.version:  # after the passes: the last of all tells the end
            seen = replace(seen, version=view.version)
            yield _event("job", seen, view.told())
        if State(view.state).ended:
            return
        if await service.changed(job, seen.version, KEEP_ALIVE) <= seen.version:
            yield b": nothing new\n\n"


def _event(kind: str, seen: _Seen, told: dict[str, Any]) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), str(seen).encode(), as_json(told))


def _parse(text: str | None) -> _Seen | None:
    found = re.fullmatch(r"(-?\d{1,18})-(\d{1,18})", text or "", re.ASCII)
    return _Seen(int(found[1]), int(found[2])) if found else None
