"""Errors over HTTP: which status each has, and what the client is told."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from dask_em.errors import (
    AccessError,
    ClusterError,
    DaskEmError,
    InputError,
    JobError,
    SourceError,
    UnknownJobError,
)
from dask_em.service.http.answers import Answer, in_json

__all__ = ["Refusal", "refusal_of"]

#: the first one that fits decides
STATUSES: tuple[tuple[type[DaskEmError], HTTPStatus], ...] = (
    (UnknownJobError, HTTPStatus.NOT_FOUND),
    (JobError, HTTPStatus.CONFLICT),
    (AccessError, HTTPStatus.FORBIDDEN),
    (ClusterError, HTTPStatus.SERVICE_UNAVAILABLE),
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (SourceError, HTTPStatus.UNPROCESSABLE_ENTITY),
)
#: characters; a value that was quoted may be as large as the body
LONGEST_MESSAGE = 4_000


class Refusal(Exception):  # noqa: N818 - nothing failed, somebody asked for what is not given
    """A request that is not served.

    Parameters
    ----------
    status : int
    kind : str
        Where there is one, the class of `dask_em.errors` that says the same.
    message : str
        One sentence.
    headers : mapping
        That this status asks for.
    """

    def __init__(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = int(status)
        self.kind = kind
        self.message = message
        self.headers = dict(headers or {})

    def answer(self) -> Answer:
        """As the client sees it."""
        message = self.message
        if len(message) > LONGEST_MESSAGE:
            message = f"{message[:LONGEST_MESSAGE]} ..."
        error = {"status": self.status, "kind": self.kind, "message": message}
        return in_json({"error": error}, self.status, self.headers)


def refusal_of(error: BaseException) -> Refusal:
    """What the client is told of an error: nothing of one that was not raised on purpose."""
    if isinstance(error, Refusal):
        return error
    if not isinstance(error, DaskEmError):
        return Refusal(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "InternalError",
            "the job service failed on this request; the log of the scheduler says why",
        )
    status = next(
        (status for kind, status in STATUSES if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    return Refusal(status, type(error).__name__, str(error))
