"""What can be asked of jobs over HTTP: one function each, a request in and an answer out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from dask_em.errors import InputError
from dask_em.service.http.answers import Answer, as_json_list, in_json
from dask_em.service.http.events import follow
from dask_em.service.http.faults import Refusal
from dask_em.service.view import JobView

if TYPE_CHECKING:
    from dask_em.service.supervisor import Supervisor

__all__ = ["Call"]

LONGEST_KEY = 200


@dataclass(frozen=True)
class Call:
    """A request, parsed."""

    service: Supervisor
    path: str  # as it was asked for, with the prefix of the scheduler
    job: str  # of which it speaks, empty if of none
    query: Mapping[str, Any]  # parsed, defaults filled in
    headers: Mapping[str, str]
    body: bytes


async def jobs(call: Call) -> Answer:
    """List jobs, newest first."""
    found = call.service.jobs(**call.query)
    return Answer(body=await as_json_list(found, JobView.told))


async def submit(call: Call) -> Answer:
    """Submit a job; what it reads is checked before it is queued."""
    _object(call.body)
    key = call.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "InputError",
            f"Idempotency-Key has {len(key):,} characters, it may have 1 to {LONGEST_KEY}; give a "
            "UUID",
        )
    view = await call.service.submit(call.body, idempotency_key=key)
    headers = {"Location": f"{call.path}/{view.id}"}
    return in_json(view.told(), HTTPStatus.ACCEPTED, headers)


async def job(call: Call) -> Answer:
    """Show a job."""
    return in_json(call.service.job(call.job).told())


async def delete(call: Call) -> Answer:
    """Forget a job that has ended, and what the service keeps of it."""
    await call.service.delete(call.job)
    return Answer(HTTPStatus.NO_CONTENT)


async def cancel(call: Call) -> Answer:
    """Cancel a job that has not ended."""
    return in_json((await call.service.cancel(call.job)).told())


async def resume(call: Call) -> Answer:
    """Let a job that has ended go on from its last checkpoint."""
    return in_json((await call.service.resume(call.job)).told())


async def spec(call: Call) -> Answer:
    """Show what was submitted, without secrets."""
    return in_json(call.service.spec(call.job))


async def trace(call: Call) -> Answer:
    """Show the passes of a job over its data."""
    return Answer(body=await as_json_list(call.service.trace(call.job, call.query["after"]), vars))


async def marks(call: Call) -> Answer:
    """Show what befell a job: drivers that were lost, components that were repaired."""
    return Answer(body=await as_json_list(call.service.marks(call.job), asdict))


async def logs(call: Call) -> Answer:
    """Show the last lines of a job's log."""
    return Answer(
        body=await as_json_list(await call.service.logs(call.job, call.query["last"]), dict)
    )


async def result(call: Call) -> Answer:
    """Fetch the saved model: its Zarr store, zipped."""
    body = await call.service.result(call.job)
    headers = {"Content-Disposition": f'attachment; filename="{call.job}.zarr.zip"'}
    return Answer(body=body, content="application/zip", headers=headers)


async def events(call: Call) -> Answer:
    """Watch a job: server-sent events until it has ended."""
    return follow(call.service, call.job, call.query["after"], call.headers.get("Last-Event-ID"))


async def schema(_call: Call) -> Answer:
    """Show the JSON Schema of specifications."""
    from dask_em.service.spec import json_schema

    return in_json(await asyncio.to_thread(json_schema))


async def description(call: Call) -> Answer:
    """Show this description of the service."""
    from dask_em.service.http.openapi import document

    return in_json(await asyncio.to_thread(document, call.path))


def _object(body: bytes) -> None:
    """Refuse what is no JSON object, of which no field could be named."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, InputError.__name__, f"the body is no JSON: {error}"
        ) from None
    if not isinstance(told, dict):
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            InputError.__name__,
            f"the body is a JSON {type(told).__name__}, not an object; give a specification such "
            'as {"task": "fit", "data": {"url": ...}, "model": ..., "output": ...}',
        )
