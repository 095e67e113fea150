"""Handlers: what clients and drivers ask of the service over the scheduler's own connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from dask_em import errors
from dask_em.errors import ClusterError, DaskEmError
from dask_em.service.view import JobView, Mark, PassView

if TYPE_CHECKING:
    from dask_em.service.supervisor import Supervisor

__all__ = ["handlers_of", "plain", "raise_told"]

Handler = Callable[..., Awaitable[Any]]
#: what people ask
OF_PEOPLE = (
    "cancel", "changed", "delete", "job", "jobs", "logs", "marks", "result", "resume", "spec",
    "submit", "trace",
)  # fmt: skip
#: what drivers say
OF_DRIVERS = ("begin", "heard", "commit", "finish", "fail")


def handlers_of(supervisor: Supervisor) -> dict[str, Handler]:
    """By the names under which a scheduler knows them.

    Answers and errors are plain values: nothing is pickled, so that versions may differ.
    """
    return {
        **{f"em_{name}": _told(getattr(supervisor, name)) for name in OF_PEOPLE},
        **{f"em_{name}": _or_unavailable(getattr(supervisor.desk, name)) for name in OF_DRIVERS},
    }


def raise_told(answer: dict[str, Any]) -> Any:
    """What a handler answered; an error that it told is raised here.

    Raises
    ------
    DaskEmError
    """
    if "error" not in answer:
        return answer["value"]
    told = answer["error"]
    kind = getattr(errors, told["kind"], errors.JobError)
    raise kind(told["message"])


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.told() if isinstance(value, JobView | PassView | Mark) else value


def _told(call: Callable[..., Any]) -> Handler:
    async def handler(**asked: Any) -> dict[str, Any]:
        try:
            answer = call(**asked)
            return {"value": plain(await answer if isawaitable(answer) else answer)}
        except DaskEmError as error:
            return {"error": {"kind": type(error).__name__, "message": str(error)}}

    return handler


def _or_unavailable(call: Handler) -> Handler:
    """A driver asks again as long as the service cannot keep what it says."""

    async def handler(**said: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await call(**said)
        except errors.UnknownJobError as error:
            return {"refused": str(error)}
        except ClusterError as error:
            return {"unavailable": str(error)}
        else:
            return answer

    return handler
