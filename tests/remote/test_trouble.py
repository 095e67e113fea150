"""What errors of file systems and networks mean, told by statuses, codes and names."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from dask_em.errors import SourceError
from dask_em.remote import patience
from dask_em.remote.patience import patiently
from dask_em.remote.trouble import is_absent, is_denied, is_lacking_home, is_passing


class ClientError(Exception):
    """As that of botocore."""

    def __init__(self, status: int, code: str = "") -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class HttpError(Exception):
    """As that of gcsfs."""

    def __init__(self, code: int) -> None:
        super().__init__(f"status {code}")
        self.code = code


class ResponseError(Exception):
    """As that of aiohttp."""

    status = 403

    @property
    def code(self) -> int:
        raise DeprecationWarning("code property is deprecated, use status instead")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


NoCredentialsError = type("NoCredentialsError", (Exception,), {})
ReadTimeoutError = type("ReadTimeoutError", (type("HTTPClientError", (Exception,), {}),), {})

CASES: list[tuple[Exception, Any]] = [
    (ClientError(503, "SlowDown"), is_passing),
    (ClientError(429), is_passing),
    (caused(OSError(errno.EIO, "odd"), ClientError(502)), is_passing),
    (OSError(errno.EBUSY, "Please reduce your request rate."), is_passing),
    (HttpError(500), is_passing),
    (ReadTimeoutError(), is_passing),
    (ConnectionResetError(), is_passing),
    (TimeoutError(), is_passing),
    (PermissionError("Access Denied"), is_denied),
    (caused(OSError(errno.EINVAL, "token"), ClientError(400, "ExpiredToken")), is_denied),
    (HttpError(401), is_denied),
    (ResponseError(), is_denied),
    (NoCredentialsError(), is_denied),
    (FileNotFoundError("x"), is_absent),
    (caused(FileNotFoundError("x"), ClientError(404, "NoSuchBucket")), is_lacking_home),
    (ValueError("a codec"), None),
    (OSError(errno.ENOSPC, "full"), None),
    (ClientError(400, "InvalidArgument"), None),
]


@pytest.mark.parametrize(("error", "kind"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_kinds(error: Exception, kind: Any) -> None:
    assert is_passing(error) == (kind is is_passing)
    assert is_denied(error) == (kind is is_denied)
    assert is_absent(error) == (kind in (is_absent, is_lacking_home))
    assert is_lacking_home(error) == (kind is is_lacking_home)


def test_pauses_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", pauses.append)

    def refuse() -> None:
        raise ClientError(503, "SlowDown")

    for _ in range(50):
        with pytest.raises(SourceError, match=r"s3://b/x.* did not answer in 5 tries"):
            patiently(refuse, "s3://b/x?sig=hidden")
    for number in range(patience.TRIES - 1):
        same = pauses[number :: patience.TRIES - 1]
        longest = patience.FIRST_PAUSE * 2**number
        assert longest / 2 <= min(same) < max(same) <= longest


def test_what_does_not_pass_is_raised_as_it_is_and_at_once() -> None:
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise ValueError("a codec")

    with pytest.raises(ValueError, match="a codec"):
        patiently(fail, "s3://b/x")
    assert len(tries) == 1
