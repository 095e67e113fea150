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
        Without one everybody is let through who asks by a known name.
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
        refusal = self.hosts.refusal(request.host_name)
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
        self.request.uri = _without_token(self.request)
        super().prepare()

    async def answer(self) -> None:
        self.give(self.given)

    def too_large(self) -> Answer:
        return self.given


_UNAUTHORIZED = Refusal(
    HTTPStatus.UNAUTHORIZED,
    AccessError.__name__,
    "this scheduler asks for a token: send it as Authorization: Bearer <token>, or open the page "
    "once with ?token=<token>",
    {"WWW-Authenticate": "Bearer"},
).answer()


def _admission(request: HTTPServerRequest, token: Token) -> Answer:
    """The cookie, and the way to the same page without the token in its address."""
    target = _without_token(request)
    secure = "https" in (request.protocol, request.headers.get("X-Forwarded-Proto"))
    cookie = f"{token.cookie_name}={token.cookie_value}; HttpOnly; Path=/; SameSite=Strict"
    headers = {
        "Set-Cookie": f"{cookie}; Secure" if secure else cookie,
        "Referrer-Policy": "no-referrer",
    }
    if request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
        return Answer(HTTPStatus.SEE_OTHER, headers={**headers, "Location": target})
    # a browser that comes from a link of another site would be sent on without the cookie
    page = f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(target)}">'
    return Answer(body=page.encode(), content="text/html; charset=utf-8", headers=headers)


def _without_token(request: HTTPServerRequest) -> str:
    """The address of a request on this host, without its token."""
    # what begins with two slashes, of either kind, would be another host
    path = "/" + re.sub(r"^[/\\\s]+", "", request.path) if request.path[:1] == "/" else "/"
    given = (one for one in request.query.split("&") if one)
    rest = [one for one in given if unquote_plus(one.partition("=")[0]) != "token"]
    return f"{path}?{'&'.join(rest)}" if rest else path
