"""What cannot be served over HTTP: each with its status, and one sentence that helps."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from dask_em.errors import AccessError, ArchiveError, ClusterError, SourceError
from dask_em.service.http.table import ROOT, TABLE
from tests.service.office import FIT
from tests.service.served import Served, served

JOBS = f"{ROOT}/jobs"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as found:
        found.service.add(state="running")
        found.service.add(state="done")
        yield found


@pytest.fixture
def failing(server: Served) -> Iterator[Served]:
    yield server
    server.service.fails_with = None


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "words"),
    [
        ("GET", f"{JOBS}/job-9", 404, "UnknownJobError", "'job-9'.*did you mean 'job-"),
        ("GET", f"{JOBS}/job-9/events", 404, "UnknownJobError", "'job-9'"),
        ("POST", f"{JOBS}/job-9/cancel", 404, "UnknownJobError", "'job-9'"),
        ("POST", f"{JOBS}/job-2/cancel", 409, "JobStateError", "job-2: it is done already"),
        ("POST", f"{JOBS}/job-1/resume", 409, "JobStateError", "job-1: it is running"),
        ("DELETE", f"{JOBS}/job-1", 409, "JobStateError", "job-1: it is running"),
        (
            "GET",
            f"{JOBS}/job-1/result",
            409,
            "JobStateError",
            "is running; a result is there when it is done",
        ),
        ("GET", f"{JOBS}?state=runing", 400, "InputError", "'runing'.*queued, running, done"),
        ("GET", f"{JOBS}?ownr=ada", 400, "InputError", "'ownr'.*did you mean 'owner'"),
        ("GET", f"{JOBS}?owner=a&owner=b", 400, "InputError", "2 times"),
        ("GET", f"{JOBS}/job-1/trace?after=-1", 400, "InputError", "'-1'.*from 0 to"),
        ("GET", f"{JOBS}/job-1/logs?last=0", 400, "InputError", "'0'.*from 1 to"),
        ("GET", f"{JOBS}/job-1/logs?last={'9' * 5000}", 400, "InputError", "from 1 to"),
        ("GET", f"{JOBS}/%ff", 404, "UnknownRoute", "%ff"),
        ("GET", f"{JOBS}/..%2f..%2fetc", 404, "UnknownRoute", "there is nothing at"),
        ("GET", f"{ROOT}/job", 404, "UnknownRoute", "did you mean '/em/api/v1/jobs'"),
        ("GET", "/em/nothing", 404, "UnknownRoute", "/em/nothing"),
        ("PUT", JOBS, 405, "MethodNotAllowed", "it has GET, POST"),
        ("GET", f"{JOBS}/job-1/cancel", 405, "MethodNotAllowed", "it has POST"),
        ("OPTIONS", JOBS, 405, "MethodNotAllowed", "OPTIONS"),
        ("BREW", JOBS, 405, "MethodNotAllowed", "method not allowed"),
    ],
)
def test_it_is_refused(
    server: Served, method: str, path: str, status: int, kind: str, words: str
) -> None:
    reply = server.ask(method, path)
    error = reply.error
    assert (reply.status, error["kind"]) == (status, kind)
    assert re.search(words, error["message"])


def test_methods_that_there_are_are_named(server: Served) -> None:
    assert server.ask("PATCH", JOBS).headers["Allow"] == "GET, POST"
    assert server.ask("HEAD", JOBS).status == 405


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe\xff", b"[" * 100_000, b"", b"[]", b"1", b"null"])
def test_a_body_that_is_no_object_is_refused(server: Served, body: bytes) -> None:
    reply = server.ask("POST", JOBS, body, headers=JSON)
    assert reply.status == 400
    assert reply.error["message"].startswith("the body is ")


def test_a_specification_that_does_not_fit_is_refused(server: Served) -> None:
    reply = server.ask("POST", JOBS, {"task": "fitt"})
    assert (reply.status, reply.error["kind"]) == (422, "InputError")
    assert "'fitt'" in reply.error["message"]


@pytest.mark.parametrize("found", [None, "text/plain", "application/x-www-form-urlencoded", "json"])
def test_only_json_is_taken(server: Served, found: str | None) -> None:
    headers = {} if found is None else {"Content-Type": found}
    for path in (JOBS, f"{JOBS}/job-1/cancel"):
        reply = server.ask("POST", path, json.dumps(FIT).encode(), headers=headers)
        assert (reply.status, reply.error["kind"]) == (415, "InputError")
    taken = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert server.ask("POST", JOBS, json.dumps(FIT).encode(), headers=taken).status == 202


def test_a_key_has_a_length(server: Served) -> None:
    for key in ("", "k" * 201):
        reply = server.ask("POST", JOBS, FIT, headers={"Idempotency-Key": key})
        assert reply.status == 400
        assert f"{len(key)} characters" in reply.error["message"]


@pytest.mark.parametrize("more", [0, 1])
def test_a_body_has_a_limit(server: Served, more: int) -> None:
    body = json.dumps(FIT).encode().ljust(1_000_000 + more)
    assert server.ask("POST", JOBS, body, headers=JSON).status == (413 if more else 202)


def test_a_client_that_sends_all_before_it_looks_sees_why(server: Served) -> None:
    reply = server.ask("POST", JOBS, b"x" * 6_000_000, headers=JSON)
    assert (reply.status, reply.error["kind"]) == (413, "InputError")


def test_a_body_in_chunks_has_the_same_limit(server: Served) -> None:
    for count, status in ((5, 400), (30, 413)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("POST", JOBS, (b"x" * 100_000 for _ in range(count)), JSON)
        assert connection.getresponse().status == status
        connection.close()


@pytest.mark.parametrize("declared", [5_000_000, 10**12])
def test_a_body_that_is_announced_too_large_is_not_waited_for(
    server: Served, declared: int
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {declared}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_endless_bodies_are_cut_off(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        piece = b"186A0\r\n" + b"x" * 100_000 + b"\r\n"
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(piece * 400)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (AccessError("outside the roots"), 403, "AccessError"),
        (SourceError("there is no store"), 422, "SourceError"),
        (ClusterError("the queue is not there"), 503, "ClusterError"),
        (ArchiveError("no model can be read"), 500, "ArchiveError"),
    ],
)
def test_errors_of_the_service_keep_their_words(
    failing: Served, error: Exception, status: int, kind: str
) -> None:
    failing.service.fails_with = error
    reply = failing.ask("GET", f"{JOBS}/job-1")
    assert reply.error == {"status": status, "kind": kind, "message": str(error)}


def test_what_nobody_foresaw_is_logged_and_not_told(
    failing: Served, caplog: pytest.LogCaptureFixture
) -> None:
    failing.service.fails_with = ZeroDivisionError("hunter2")
    with caplog.at_level(logging.ERROR):
        reply = failing.ask("GET", f"{JOBS}/job-1")
    assert (reply.status, reply.error["kind"]) == (500, "InternalError")
    assert b"hunter2" not in reply.body
    assert b"Traceback" not in reply.body
    assert "ZeroDivisionError: hunter2" in caplog.text


def test_messages_are_no_copies_of_what_was_sent(failing: Served) -> None:
    failing.service.fails_with = SourceError("x" * 100_000)
    assert len(failing.ask("GET", f"{JOBS}/job-1").body) < 5_000


def test_without_the_service_it_is_not_available(server: Served) -> None:
    service: Any = server.scheduler.extensions.pop("em")
    try:
        reply = server.ask("GET", JOBS)
        assert (reply.status, reply.error["kind"]) == (503, "ClusterError")
        assert "dask_em.preload" in reply.error["message"]
        assert server.ask("GET", "/metrics").status == 200
    finally:
        server.scheduler.extensions["em"] = service


def test_every_route_refuses_methods_that_it_has_not(server: Served) -> None:
    for route in TABLE:
        path = route.path.replace("{id}", "job-1")
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - set(route.operations):
            reply = server.ask(method, path)
            assert reply.status == 405, (method, path)
            assert reply.headers["Allow"] == ", ".join(route.operations)
