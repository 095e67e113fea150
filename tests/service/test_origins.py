"""Pages of other sites: whoever looks at one lends it nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from dask_em.service.http.table import ROOT
from tests.service.served import Served, served
from tests.service.test_gate import BEARER, QUOTED, TOKEN, cookie_of


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(settings={"token": TOKEN}) as found:
        yield found


@pytest.fixture(scope="module")
def cookie(server: Served) -> str:
    return cookie_of(server.ask("GET", f"/status?token={QUOTED}"))


def opened(server: Served, **headers: str) -> int:
    """The status with which a websocket of the dashboard is opened."""

    async def connect() -> int:
        url = f"ws://127.0.0.1:{server.port}/status/ws"
        try:
            found = await websocket_connect(HTTPRequest(url, headers=headers))
        except HTTPClientError as error:
            return error.code
        found.close()
        while await found.read_message() is not None:
            pass
        return 101

    return asyncio.run(connect())


def test_websockets_need_the_token_too(server: Served, cookie: str) -> None:
    assert opened(server) == 401
    assert opened(server, Authorization="Bearer wrong") == 401
    assert opened(server, Cookie=cookie) == opened(server, **BEARER) == 101


FOREIGN = ["http://evil.example", "null", "http://127.0.0.1:1", "http://[evil", "", "127.0.0.1"]


@pytest.mark.parametrize("origin", FOREIGN)
def test_pages_of_other_sites_write_nothing(server: Served, cookie: str, origin: str) -> None:
    headers = {"Origin": origin, "Cookie": cookie}
    job = server.service.add(state="done").id
    for method, path in [
        ("POST", f"{ROOT}/jobs"),
        ("DELETE", f"{ROOT}/jobs/{job}"),
        ("POST", "/api/v1/retire_workers"),
    ]:
        reply = server.ask(method, path, headers=headers)
        assert (reply.status, reply.error["kind"]) == (403, "AccessError")
        assert repr(origin) in reply.error["message"]
    assert server.ask("GET", f"{ROOT}/jobs/{job}", headers=headers).status == 200
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Cookie": cookie}
    assert server.ask("DELETE", f"{ROOT}/jobs/{job}", headers=own).status == 204


@pytest.mark.parametrize("token", [None, TOKEN])
def test_pages_of_other_sites_open_no_websockets(token: str | None, cookie: str) -> None:
    """Browsers let any page read from them; a site at another port is given strict cookies, too."""
    with served(settings={"token": token}) as found:
        for origin in FOREIGN:
            assert opened(found, Origin=origin, Cookie=cookie) == 403
        own = f"http://127.0.0.1:{found.port}"
        assert opened(found, Origin=own, Cookie=cookie) == 101
        proxied = {"X-Forwarded-Host": "dask.example.org, inner"}
        assert opened(found, Origin="https://dask.example.org", Cookie=cookie, **proxied) == 101
        assert opened(found, Origin="https://inner", Cookie=cookie, **proxied) == 403
