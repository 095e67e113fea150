"""The gate before every route: tokens, cookies, and names of hosts."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import socket
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote

import dask
import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from dask_em.service.http.bearer import Token
from dask_em.service.http.gate import Gate, Stop
from dask_em.service.http.hosts import Hosts
from dask_em.service.http.table import ROOT, TABLE
from tests.service.office import FIT
from tests.service.served import ROUTES, Reply, Served, served

TOKEN = "s3cret-tökén"
BEARER = {"Authorization": f"Bearer {TOKEN}".encode().decode("latin-1")}
QUOTED = quote(TOKEN)
#: of distributed, of bokeh, of the service, and of nobody
PATHS = [
    "/",
    "/status",
    "/status/ws",
    "/static/js/bokeh.min.js",
    "/individual-task-stream",
    "/metrics",
    "/json/counts.json",
    "/info/main/workers.html",
    "/sitemap.json",
    "/proxy/8000/127.0.0.1/status",
    "/health/",
    "/HEALTH",
    "//health",
    "/health/../status",
    "/nothing",
    "/api/v1/retire_workers",
    *(route.path.replace("{id}", "job-1") for route in TABLE),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(settings={"token": TOKEN}) as found:
        found.service.add()
        yield found


def cookie_of(reply: Reply) -> str:
    return reply.headers["Set-Cookie"].partition(";")[0]


@pytest.fixture(scope="module")
def cookie(server: Served) -> str:
    return cookie_of(server.ask("GET", f"/status?token={QUOTED}"))


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_served_without_the_token(server: Served, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "HEAD"):
        reply = server.ask(method, path)
        assert reply.status == 401
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        if method != "HEAD":
            assert reply.error["kind"] == "AccessError"
            assert TOKEN not in reply.error["message"]


def test_health_is_open(server: Served) -> None:
    assert server.ask("GET", "/health").body == b"ok"


@pytest.mark.parametrize("path", ["/status", "/metrics", f"{ROOT}/jobs", f"{ROOT}/jobs/job-1"])
def test_the_token_opens(server: Served, cookie: str, path: str) -> None:
    assert server.ask("GET", path, headers=BEARER).status == 200
    assert server.ask("GET", path, headers={"Cookie": f"other=1; {cookie}"}).status == 200
    lower = {"authorization": BEARER["Authorization"].replace("Bearer", "bearer")}
    assert server.ask("GET", path, headers=lower).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": BEARER["Authorization"] + "x"},
        {"Authorization": BEARER["Authorization"][:-2]},
        {"Authorization": BEARER["Authorization"].removeprefix("Bearer ")},
        {"Authorization": "Basic " + BEARER["Authorization"].removeprefix("Bearer ")},
        {"Authorization": "Bearer \xff\xfe"},
        {"Cookie": "{name}=wrong"},
        {"Cookie": "{name}="},
        {"Cookie": "{name}=\xff"},
        {"Cookie": "{name}=s3cret"},
        {"Cookie": "token=s3cret"},
    ],
)
def test_nothing_else_opens(server: Served, cookie: str, headers: dict[str, str]) -> None:
    name = cookie.partition("=")[0]
    headers = {key: value.replace("{name}", name) for key, value in headers.items()}
    assert server.ask("GET", "/status", headers=headers).status == 401
    assert server.ask("GET", f"{ROOT}/jobs?token=wrong").status == 401


def test_a_body_is_not_taken_without_the_token(server: Served) -> None:
    for size in (10, 5_000_000):
        assert server.ask("POST", f"{ROOT}/jobs", b"x" * size).status == 401


def test_the_page_is_opened_with_the_token_once(server: Served) -> None:
    path = f"/status?theme=dark&token={QUOTED}&a=1%202"
    reply = server.ask("GET", path)
    assert reply.status == 303
    assert reply.headers["Location"] == "./status?theme=dark&a=1%202"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    parts = {part.strip() for part in reply.headers["Set-Cookie"].split(";")[1:]}
    assert parts == {"HttpOnly", "SameSite=Strict", "Path=/"}
    again = server.ask("GET", reply.headers["Location"][1:], headers={"Cookie": cookie_of(reply)})
    assert again.status == 200


def test_a_cookie_is_not_the_token_and_goes_with_it(server: Served, cookie: str) -> None:
    value = cookie.partition("=")[2]
    assert re.fullmatch("[0-9a-f]{64}", value)
    assert TOKEN not in value
    assert value == hmac.new(TOKEN.encode(), b"dask-em session", hashlib.sha256).hexdigest()
    assert server.ask("GET", "/status", headers={"Authorization": f"Bearer {value}"}).status == 401
    server.again(token="another-one")
    try:
        assert server.ask("GET", "/status", headers={"Cookie": cookie}).status == 401
        assert server.ask("GET", "/status", headers=BEARER).status == 401
        other = {"Authorization": "Bearer another-one"}
        assert server.ask("GET", "/status", headers=other).status == 200
    finally:
        server.again(token=TOKEN)


def test_behind_https_a_cookie_is_secure(server: Served) -> None:
    path = f"/status?token={QUOTED}"
    reply = server.ask("GET", path, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in reply.headers["Set-Cookie"].split("; ")


@pytest.mark.parametrize(
    ("prefix", "path"),
    [
        ("/user/ada/proxy/8787", "/user/ada/proxy/8787"),
        ("/a; Domain=evil.example", "/"),
        ("//", "/"),
        ("a", "/"),
    ],
)
def test_below_a_proxy_a_cookie_stays_there(server: Served, prefix: str, path: str) -> None:
    asked = f"/status?token={QUOTED}"
    reply = server.ask("GET", asked, headers={"X-Forwarded-Prefix": prefix})
    parts = {part.strip() for part in reply.headers["Set-Cookie"].split(";")[1:]}
    assert parts == {"HttpOnly", "SameSite=Strict", f"Path={path}"}


def test_over_https_a_cookie_is_secure() -> None:
    line = RequestStartLine("GET", "/status?token=s3cret", "HTTP/1.1")
    request = HTTPServerRequest(headers=HTTPHeaders({"Host": "localhost"}), start_line=line)
    for protocol, secure in (("http", False), ("https", True)):
        request.protocol = protocol
        answer = Gate("s3cret", Hosts()).answer(request)
        assert answer is not None
        assert answer.headers["Set-Cookie"].endswith("; Secure") is secure


def test_secrets_are_compared_in_constant_time(
    server: Served, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    secret, value = TOKEN.encode(), cookie.partition("=")[2].encode()
    for path, headers, expected in [
        ("/status", BEARER, secret),
        ("/status", {"Cookie": cookie}, value),
        (f"/status?token={QUOTED}", {}, secret),
    ]:
        compared.clear()
        assert server.ask("GET", path, headers=headers).status == 401
        assert compared == [expected]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("//evil.example?token={}", "./evil.example"),
        ("//evil.example/?token={}", "./"),
        ("///evil.example/?token={}&b", "./?b"),
        ("/\\evil.example?token={}", "./evil.example"),
        ("/\\/evil.example?token={}", "./evil.example"),
        ("http://evil.example/?token={}", "./"),
        ("javascript:alert(1)?token={}", "./javascript:alert(1)"),
        ("/status?%74oken={}&token={}", "./status"),
        ("/status?token=wrong&token={}", "./status"),
        ("/status?tokens=1&token={}", "./status?tokens=1"),
        ("/json/counts.json?token={}", "./counts.json"),
        ("/?token={}", "./"),
    ],
)
def test_it_leads_to_this_host_alone(server: Served, path: str, target: str) -> None:
    shown = path.replace("{}", QUOTED)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = f"GET {shown} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode("latin-1"))
        answer = connection.recv(65_536).decode("latin-1")
    assert answer.startswith("HTTP/1.1 303 ")
    assert f"\r\nLocation: {target}\r\n" in answer


def test_who_comes_from_another_site_is_led_on_by_a_page(server: Served) -> None:
    """A browser sends no strict cookie along redirects that began at another site."""

    class Refresh(HTMLParser):
        content = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "meta":
                self.content = str(dict(attrs).get("content"))

    path = f'/status?a="><script>&token={QUOTED}'
    reply = server.ask("GET", path, headers={"Sec-Fetch-Site": "cross-site"})
    assert reply.status == 200
    assert "Set-Cookie" in reply.headers
    page = Refresh()
    page.feed(reply.body.decode())
    assert page.content == '0; url=./status?a="><script>'
    assert b"<script>" not in reply.body


def test_only_get_takes_the_token_from_the_address(server: Served) -> None:
    path = f"{ROOT}/jobs?token={QUOTED}"
    assert server.ask("POST", path, FIT).status == 401


def test_the_log_of_requests_has_no_token(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tornado"):
        server.ask("GET", "/status?token=s3cret")
        server.ask("GET", f"/status?token={QUOTED}")
    assert "/status" in caplog.text
    assert "s3cret" not in caplog.text
    assert "s3cret" not in repr(Token("s3cret"))


def test_nothing_is_kept_of_what_nobody_reads(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    answer = Stop.answer

    async def spied(stop: Stop) -> None:
        kept.append(len(stop.body))
        await answer(stop)

    monkeypatch.setattr(Stop, "answer", spied)
    assert server.ask("POST", f"{ROOT}/jobs", b"x" * 900_000).status == 401
    assert kept == [0]


def test_paths_may_be_opened(server: Served) -> None:
    server.again(token=TOKEN, open_paths=("/api/v1/*", "/json/counts.json"))
    try:
        assert server.ask("GET", "/api/v1/adaptive_target").status == 404  # not served here
        assert server.ask("GET", "/json/counts.json").status == 200
        for path in ("/api/v1", "/json/counts.jsonx", "/metrics", f"{ROOT}/jobs", "/status"):
            assert server.ask("GET", path).status == 401
    finally:
        server.again(token=TOKEN)


def test_a_scheduler_is_closed_until_its_gate_stands() -> None:
    config = {ROUTES: ["dask_em.service.http.closed", *dask.config.get(ROUTES)]}
    with served(config=config, installed=False) as found:
        for path in (
            "/status",
            "/status/ws",
            "/metrics",
            "/healthy",
            f"{ROOT}/jobs",
        ):
            reply = found.ask("GET", path, headers=BEARER)
            assert (reply.status, reply.error["kind"]) == (503, "ClusterError")
            assert reply.headers["Retry-After"] == "1"
        assert found.ask("GET", "/health").status == 200
        found.again(token=TOKEN)
        for path in ("/status", "/metrics", f"{ROOT}/jobs"):
            assert found.ask("GET", path).status == 401
            assert found.ask("GET", path, headers=BEARER).status == 200
