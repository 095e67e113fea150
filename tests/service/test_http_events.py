"""Server-sent events: a job and its passes as they come, and nothing left when a client leaves."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from dask_em.service.http import events
from dask_em.service.http.table import ROOT
from tests.service.served import Served, served


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as found:
        yield found


@dataclass(frozen=True)
class Event:
    kind: str
    id: str
    told: dict[str, Any]


class Watcher:
    """A client that reads events."""

    def __init__(self, server: Served, job: str, query: str = "", last: str | None = None) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        headers = {} if last is None else {"Last-Event-ID": last}
        self.connection.request("GET", f"{ROOT}/jobs/{job}/events{query}", headers=headers)
        self.response = self.connection.getresponse()

    def line(self) -> str:
        return self.response.readline().decode()

    def read(self) -> Event | None:
        """The next event, None if there are no more."""
        fields = {}
        while (line := self.line()) not in ("", "\n"):
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
        if not fields:
            return None
        return Event(fields["event"], fields["id"], json.loads(fields["data"]))

    def rest(self) -> list[Event]:
        return list(iter(self.read, None))

    def close(self) -> None:
        self.response.close()
        self.connection.close()


Watch = Callable[..., Watcher]


@pytest.fixture
def watch() -> Iterator[Watch]:
    with ExitStack() as stack:

        def watch(*args: Any, **kwargs: Any) -> Watcher:
            watcher = Watcher(*args, **kwargs)
            stack.callback(watcher.close)
            return watcher

        yield watch


def until(holds: Any) -> None:
    """Wait, for at most half a minute."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_changes_and_passes_come_until_the_job_ends(server: Served, watch: Watch) -> None:
    job = server.service.add().id
    watcher = watch(server, job)
    assert watcher.response.headers["Content-Type"] == "text/event-stream"
    first = watcher.read()
    assert first is not None
    assert (first.kind, first.told["id"], first.told["state"]) == ("job", job, "running")
    server.call(lambda: server.service.add_pass(job))
    new, shown = watcher.read(), watcher.read()
    assert new is not None
    assert shown is not None
    assert (new.kind, new.told["number"]) == ("pass", 1)
    assert (shown.kind, shown.told["passes"]) == ("job", 1)
    server.call(lambda: server.service.change(job, state="done"))
    assert [(one.kind, one.told["state"]) for one in watcher.rest()] == [("job", "done")]
    assert server.service.waiting == 0


def test_a_job_that_has_ended_is_told_whole(server: Served, watch: Watch) -> None:
    job = server.service.add().id
    for _ in range(3):
        server.service.add_pass(job)
    server.service.change(job, state="failed")
    kinds = [one.kind for one in watch(server, job).rest()]
    assert kinds == ["pass", "pass", "pass", "job"]
    assert [one.kind for one in watch(server, job, "?after=2").rest()] == ["pass", "job"]


def test_who_comes_back_misses_nothing_and_sees_nothing_twice(server: Served, watch: Watch) -> None:
    job = server.service.add().id
    for _ in range(4):
        server.service.add_pass(job)
    server.service.change(job, state="done")
    whole = watch(server, job).rest()
    for seen in range(1, len(whole)):
        assert watch(server, job, last=whole[seen - 1].id).rest() == whole[seen:]
    # an empty answer tells a browser not to come again
    assert watch(server, job, last=whole[-1].id).response.status == 204


@pytest.mark.parametrize("last", ["", "x", "99999-0", "1-1-1", "9" * 40])
def test_an_id_of_another_service_starts_again(server: Served, watch: Watch, last: str) -> None:
    job = server.service.add(state="done").id
    server.service.add_pass(job)
    assert [one.kind for one in watch(server, job, last=last).rest()] == ["pass", "job"]


def test_comments_keep_the_connection(
    server: Served, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE", 0.05)
    job = server.service.add().id
    watcher = watch(server, job)
    watcher.read()
    assert [watcher.line() for _ in range(4)] == [": nothing new\n", "\n"] * 2
    server.call(lambda: server.service.change(job, state="done"))
    assert b'"state":"done"' in watcher.response.read()


def test_nothing_is_left_of_clients_that_leave(
    server: Served, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE", 1000.0)  # no comment finds out that they left
    job = server.service.add().id
    watchers = [watch(server, job) for _ in range(20)]
    for watcher in watchers:
        watcher.read()
    until(lambda: server.service.waiting == 20)
    for watcher in watchers:
        watcher.close()
    until(lambda: server.service.waiting == 0)
    assert server.call(lambda: _streams(server)) == 0


def test_a_job_that_is_deleted_has_no_more_events(server: Served, watch: Watch) -> None:
    job = server.service.add().id
    watcher = watch(server, job)
    watcher.read()
    server.call(lambda: server.service.forget(job))
    assert watcher.rest() == []


def test_a_stream_that_fails_ends(
    server: Served, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    job = server.service.add().id
    watcher = watch(server, job)
    watcher.read()
    server.service.fails_with = ZeroDivisionError("hunter2")
    server.call(lambda: server.service.add_pass(job))  # it is looked at again
    try:
        assert watcher.response.read() == b""
    finally:
        server.service.fails_with = None
    assert "ZeroDivisionError" in caplog.text


def test_a_scheduler_that_closes_ends_what_is_followed(watch: Watch) -> None:
    with served(dashboard=False) as found:
        job = found.service.add().id
        watcher = watch(found, job)
        watcher.read()
        until(lambda: found.service.waiting == 1)
    assert watcher.response.read() == b""
    assert found.service.waiting == 0


def _streams(server: Served) -> int:
    from dask_em.service.http import handlers

    return len(handlers._streams.get(server.scheduler, ()))
