"""The table of routes: what is served where. Handlers and the description are made from it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from dask_em.service.http import operations
from dask_em.service.http.answers import Answer
from dask_em.service.http.operations import Call
from dask_em.service.http.parameters import AFTER, LAST, OWNER, STATE, TAG, Parameter

__all__ = ["ROOT", "TABLE", "Operation", "Route"]

ROOT = "/em/api/v1"
#: an id, as one group of a pattern
ID = r"([A-Za-z0-9_.~-]{1,200})"


@dataclass(frozen=True)
class Operation:
    """What a method of a route does."""

    run: Callable[[Call], Awaitable[Answer]]
    gives: Mapping[int, str]  # status -> what: a record, "[record]" for a list, a media type, ""
    refuses: tuple[int, ...] = ()  # statuses beside those that any request may have
    parameters: tuple[Parameter, ...] = ()
    takes: str = ""  # what the body is, empty if none is needed
    changes: bool = False  # somebody's jobs

    @property
    def words(self) -> str:
        """What it does, in one sentence."""
        return (self.run.__doc__ or "").strip()


@dataclass(frozen=True)
class Route:
    """A path, in which `{id}` stands for a job, and its methods."""

    path: str
    operations: Mapping[str, Operation]

    @property
    def pattern(self) -> str:
        """As a regular expression."""
        return re.escape(self.path).replace(r"\{id\}", ID)


def _read(
    run: Callable[[Call], Awaitable[Answer]], gives: str, *parameters: Parameter
) -> Mapping[str, Operation]:
    return {"GET": Operation(run, {200: gives}, (404,), parameters)}


_ENDS = (403, 404, 409)

TABLE = (
    Route(
        f"{ROOT}/jobs",
        {
            "GET": Operation(operations.jobs, {200: "[JobView]"}, (), (STATE, OWNER, TAG)),
            "POST": Operation(
                operations.submit,
                {202: "JobView"},
                (403, 409, 413, 415, 422),
                takes="Specification",
                changes=True,
            ),
        },
    ),
    Route(
        f"{ROOT}/jobs/{{id}}",
        {
            "GET": Operation(operations.job, {200: "JobView"}, (404,)),
            "DELETE": Operation(operations.delete, {204: ""}, _ENDS, changes=True),
        },
    ),
    Route(
        f"{ROOT}/jobs/{{id}}/cancel",
        {"POST": Operation(operations.cancel, {200: "JobView"}, _ENDS, changes=True)},
    ),
    Route(
        f"{ROOT}/jobs/{{id}}/resume",
        {"POST": Operation(operations.resume, {200: "JobView"}, _ENDS, changes=True)},
    ),
    Route(f"{ROOT}/jobs/{{id}}/spec", _read(operations.spec, "Specification")),
    Route(f"{ROOT}/jobs/{{id}}/trace", _read(operations.trace, "[PassView]", AFTER)),
    Route(f"{ROOT}/jobs/{{id}}/marks", _read(operations.marks, "[Mark]")),
    Route(f"{ROOT}/jobs/{{id}}/logs", _read(operations.logs, "[LogLine]", LAST)),
    Route(
        f"{ROOT}/jobs/{{id}}/result",
        {"GET": Operation(operations.result, {200: "application/zip"}, (404, 409))},
    ),
    Route(
        f"{ROOT}/jobs/{{id}}/events",
        {
            "GET": Operation(
                operations.events, {200: "text/event-stream", 204: ""}, (404,), (AFTER,)
            )
        },
    ),
    Route(f"{ROOT}/schema", {"GET": Operation(operations.schema, {200: "application/json"})}),
    Route(
        f"{ROOT}/openapi.json",
        {"GET": Operation(operations.description, {200: "application/json"})},
    ),
)
