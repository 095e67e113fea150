"""The gate: one rule before every route of a scheduler, its own and those of its dashboard."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_plus

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher

from dask_em.errors import AccessError
from dask_em.service.http.answers import Answer
from dask_em.service.http.bearer import Token
from dask_em.service.http.bounded import Bounded
from dask_em.service.http.faults import Refusal
from dask_em.service.http.hosts import Hosts

__all__ = ["Gate", "Stop"]


class Gate(Matcher):
    """Matches what is not let through: it is answered here, whatever the route.

    Parameters
    ----------
    token : str, or None
        Without one everybody is let through who asks by a known name, but for pages of other
        sites that would write, or open a websocket.
    hosts : Hosts
    open_paths : iterable of str
        Paths that need no token. One that ends in `*` stands for all that begin so.
    """

    def __init__(self, token: str | None, hosts: Hosts, open_paths: Iterable[str] = ()) -> None:
        self.hosts = hosts
        self._token = Token(token) if token else None
        self._open = frozenset(open_paths)
        self._open_below = tuple(path[:-1] for path in self._open if path.endswith("*"))

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        answer = self.answer(request)
        return None if answer is None else {"target_kwargs": {"given": answer}}

    def answer(self, request: HTTPServerRequest) -> Answer | None:
        """What a request is answered with at the gate; None if it passes."""
        refusal = self.hosts.refusal(request.host_name) or _foreign(request)
        if refusal is not None:
            return refusal.answer()
        if self._token is None or self._is_open(request.path):
            return None
        if request.method == "GET" and self._is_in_address(self._token, request):
            return _admission(request, self._token)
        return None if self._token.is_shown_by(request) else _UNAUTHORIZED

    def _is_open(self, path: str) -> bool:
        return path in self._open or path.startswith(self._open_below)

    @staticmethod
    def _is_in_address(token: Token, request: HTTPServerRequest) -> bool:
        return any(token.fits(shown) for shown in request.query_arguments.get("token", ()))


class Stop(Bounded):
    """Gives the answer of the gate."""

    def initialize(self, given: Answer) -> None:
        self.given = given

    def prepare(self) -> None:
        # the log of requests shows addresses
        self.request.uri = self.request.path + _query(self.request)
        super().prepare()

    async def answer(self) -> None:
        self.give(self.given)

    def data_received(self, chunk: bytes) -> None:
        super().data_received(chunk)
        self.body.clear()  # nobody reads it, and anybody may send it

    def too_large(self) -> Answer:
        return self.given


_UNAUTHORIZED = Refusal(
    HTTPStatus.UNAUTHORIZED,
    AccessError.__name__,
    "this scheduler asks for a token: send it as Authorization: Bearer <token>, or open the page "
    "once with ?token=<token>",
    {"WWW-Authenticate": "Bearer"},
).answer()


def _foreign(request: HTTPServerRequest) -> Refusal | None:
    """Why a page of another site gets nothing in the name of whoever looks at it; None if it may.

    What it reads it is not shown by the browser, for want of CORS headers; but it could write, and
    connections of websockets are shown to any page.
    """
    origin = request.headers.get("Origin")
    upgrades = request.headers.get("Upgrade", "").lower() == "websocket"
    if origin is None or (request.method in ("GET", "HEAD", "OPTIONS") and not upgrades):
        return None
    # a page cannot set the second one, a proxy may
    forwarded = request.headers.get("X-Forwarded-Host", "").partition(",")[0].strip()
    if origin.partition("://")[2].lower() in (request.host.lower(), forwarded.lower() or None):
        return None
    return Refusal(
        HTTPStatus.FORBIDDEN,
        AccessError.__name__,
        f"a page of {origin!r} may not use {request.host!r}; ask from a page of the scheduler, or "
        "without a browser, and have proxies pass on the Host",
    )


def _admission(request: HTTPServerRequest, token: Token) -> Answer:
    """The cookie, and the way to the same page without the token in its address."""
    # relative to where the browser is: that may be below the prefix of a proxy, and cannot be
    # another host
    page_name = re.split(r"[/\\]", request.path)[-1]
    target = f"./{page_name}{_query(request)}"
    headers = {"Set-Cookie": _cookie(request, token), "Referrer-Policy": "no-referrer"}
    if request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
        return Answer(HTTPStatus.SEE_OTHER, headers={**headers, "Location": target})
    # a browser that comes from a link of another site would be sent on without the cookie
    page = f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(target)}">'
    return Answer(body=page.encode(), content="text/html; charset=utf-8", headers=headers)


def _cookie(request: HTTPServerRequest, token: Token) -> str:
    # others may be served by the same name, below other prefixes
    prefix = request.headers.get("X-Forwarded-Prefix", "")
    path = prefix if re.fullmatch(r"(/[\w.~@%+:-]+)+", prefix, re.ASCII) else "/"
    cookie = f"{token.cookie_name}={token.cookie_value}; HttpOnly; Path={path}; SameSite=Strict"
    secure = "https" in (request.protocol, request.headers.get("X-Forwarded-Proto"))
    return f"{cookie}; Secure" if secure else cookie


def _query(request: HTTPServerRequest) -> str:
    """The arguments of a request, without its token."""
    given = (one for one in request.query.split("&") if one)
    rest = [one for one in given if unquote_plus(one.partition("=")[0]) != "token"]
    return f"?{'&'.join(rest)}" if rest else ""
