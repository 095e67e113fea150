"""What an error of a file system or a network means: the clients have no common classes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from dask_em.remote.secrets import without_secrets

__all__ = ["cause_of", "is_absent", "is_denied", "is_lacking_home", "is_passing", "may_be_absent"]

#: HTTP statuses that a later try may not meet: throttling, time-outs, servers that restart
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
PASSING_ERRNO = frozenset(
    getattr(errno, name)
    for name in ("EAGAIN", "EBUSY", "EREMOTEIO", "ETIMEDOUT")
    if hasattr(errno, name)  # not every system has them all
)
PASSING_CODES = frozenset({"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable"})
#: of Python, botocore, aiohttp, urllib3, fsspec and Azure's client, and those derived from them
PASSING_NAMES = frozenset(
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "ConnectionError",
        "FSTimeoutError",
        "HTTPClientError",
        "IncompleteRead",
        "ResponseStreamingError",
        "ServerDisconnectedError",
        "ServiceRequestError",
        "ServiceResponseError",
        "TimeoutError",
    }
)
DENIED = frozenset({401, 403})
DENIED_CODES = frozenset(
    {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AuthorizationHeaderMalformed"}
)
#: of botocore, Google's and Azure's clients: no credentials, or such as cannot be used
DENIED_NAMES = frozenset(
    {
        "ClientAuthenticationError",
        "CredentialRetrievalError",
        "DefaultCredentialsError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "RefreshError",
        "SSOError",
        "TokenRetrievalError",
    }
)


def is_passing(error: BaseException) -> bool:
    """Whether the same request may be answered later."""
    if is_denied(error) or is_absent(error):
        return False
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in PASSING_ERRNO:
            return True
        if _named(one, PASSING_NAMES) or _status(one) in PASSING or _code(one) in PASSING_CODES:
            return True
    return False


def is_denied(error: BaseException) -> bool:
    """Whether credentials are missing, wrong or expired, or do not suffice."""
    return any(
        isinstance(one, PermissionError)
        or _named(one, DENIED_NAMES)
        or _status(one) in DENIED
        or _code(one) in DENIED_CODES
        for one in _chain(error)
    )


def is_absent(error: BaseException) -> bool:
    """Whether there is no such object, or not even its bucket."""
    return any(
        isinstance(one, FileNotFoundError | IsADirectoryError | NotADirectoryError)
        for one in _chain(error)
    )


def may_be_absent(error: BaseException) -> bool:
    """Whether S3 denies it because it is not there, or because it is forbidden; HEAD says 403."""
    return any(_code(one) in ("AccessDenied", "403") for one in _chain(error))


def is_lacking_home(error: BaseException) -> bool:
    """Whether the bucket or container is not there."""
    homes = {"NoSuchBucket", "ContainerNotFound"}
    return any(_code(one) in homes for one in _chain(error))


def cause_of(error: BaseException) -> str:
    """An error in words that hold no secret."""
    return without_secrets(f"{type(error).__name__}: {error}".rstrip(": "))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _named(error: BaseException, names: frozenset[str]) -> bool:
    return any(kind.__name__ in names for kind in type(error).__mro__)


def _status(error: Any) -> int | None:
    told = (found for found in _statuses(error) if isinstance(found, int) and found >= 400)
    return next(told, None)


def _statuses(error: Any) -> Iterator[Any]:
    yield _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    for name in ("status", "status_code", "code"):  # aiohttp warns of the last
        yield getattr(error, name, None)


def _code(error: Any) -> str | None:
    found = _response(error).get("Error", {}).get("Code") or getattr(error, "error_code", None)
    return found if isinstance(found, str) else None


def _response(error: Any) -> dict[str, Any]:
    found = getattr(error, "response", None)
    return found if isinstance(found, dict) else {}
