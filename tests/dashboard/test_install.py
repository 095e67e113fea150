"""The page in the dashboard of a real scheduler: its tab, its lists, its documents."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bokeh.client import ClientSession, pull_session
from bokeh.models import ColumnDataSource, Div
from distributed import Scheduler
from distributed.dashboard import scheduler as dashboard
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from dask_em.dashboard import install
from dask_em.dashboard.page import DOCUMENTS
from tests.dashboard.reports import Reports

Get = Callable[[str], Awaitable[str]]


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[Scheduler, Get]]:
    """A scheduler on this loop, and how to get a page of it."""
    options = {"dashboard_address": "127.0.0.1:0", "dashboard": True, **options}
    async with Scheduler(host="127.0.0.1", port=0, **options) as scheduler:

        async def get(path: str) -> str:
            url = f"http://127.0.0.1:{scheduler.http_server.port}{path}"
            return (await AsyncHTTPClient().fetch(url)).body.decode()

        yield scheduler, get


def test_a_running_scheduler_gets_the_page_once() -> None:
    async def check() -> None:
        async with running() as (scheduler, get):
            scheduler.extensions["em"] = Reports()
            assert '<a href="em">' not in await get("/status")
            assert install(scheduler)
            rules = len(scheduler.http_application.applications[0].default_router.rules)
            assert install(scheduler)
            assert len(scheduler.http_application.applications[0].default_router.rules) == rules
            assert len(scheduler.http_application.applications) == 1
            for path in ("/status", "/em"):
                page = await get(path)
                assert page.count('<a href="em">Em</a>') == 1
                assert page.count('<a href="individual-em-jobs">Em Jobs</a>') == 1
            for path in DOCUMENTS:
                assert "Dask" in await get(path)
            listed = await get("/individual-plots.json")
            assert '"Individual Em Log Likelihood": "/individual-em-log-likelihood"' in listed

    asyncio.run(check())


def test_a_session_is_kept_up_to_date_through_its_websocket() -> None:
    async def check() -> None:
        async with running() as (scheduler, _):
            reports = scheduler.extensions["em"] = Reports()
            reports.begin("a")
            reports.read("a", 3)
            install(scheduler)
            loop = asyncio.get_running_loop()
            url = f"http://127.0.0.1:{scheduler.http_server.port}/em"
            seen = await asyncio.to_thread(
                follow, url, lambda: loop.call_soon_threadsafe(reports.read, "a", 2)
            )
            assert seen[0] == [1, 2, 3]
            assert seen[-1] == [1, 2, 3, 4, 5]

    asyncio.run(check())


def follow(url: str, more: Callable[[], object]) -> list[list[int]]:
    """The passes that a page draws, from when it is opened until there are two more."""
    asyncio.set_event_loop(asyncio.new_event_loop())  # the client of Bokeh wants one of its thread
    first = pull_session(url=url)
    seen = [drawn(first)]
    more()
    until = time.monotonic() + 60
    while len(seen[-1]) < len(seen[0]) + 2 and time.monotonic() < until:
        time.sleep(0.05)
        again = pull_session(url=url, session_id=first.id)  # the same document
        seen.append(drawn(again))
        again.close()
    first.close()
    asyncio.get_event_loop().close()
    return seen


def drawn(session: ClientSession) -> list[int]:
    """The passes that a page draws."""
    sources = session.document.select({"type": ColumnDataSource})
    (passes,) = (one for one in sources if "reading" in one.data)
    return [int(number) for number in passes.data["number"]]


def test_a_prefix_is_kept() -> None:
    async def check() -> None:
        async with running(http_prefix="proxied") as (scheduler, get):
            assert install(scheduler)
            assert '<a href="em">' in await get("/proxied/em")
            with pytest.raises(HTTPClientError, match="404"):
                await get("/em")

    asyncio.run(check())


async def _text(scheduler: Scheduler, path: str) -> str:
    """The texts of a page."""
    url = f"http://127.0.0.1:{scheduler.http_server.port}{path}"
    return await asyncio.to_thread(_texts, url)


def _texts(url: str) -> str:
    asyncio.set_event_loop(asyncio.new_event_loop())
    session = pull_session(url=url)
    texts = [model.text for model in session.document.models if isinstance(model, Div)]
    session.close()
    asyncio.get_event_loop().close()
    return " ".join(texts)


def test_without_a_dashboard_there_is_nothing_to_do(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with running(dashboard=False) as (scheduler, _):
            assert not install(scheduler)

    asyncio.run(check())
    assert not [record for record in caplog.records if record.name.startswith("dask_em")]


def test_a_dask_that_is_not_as_known_is_named_and_not_harmed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        async with running() as (scheduler, get):
            monkeypatch.delattr(dashboard, "template_variables")
            with caplog.at_level(logging.WARNING, "dask_em"):
                assert not install(scheduler)
            assert "Status" in await get("/status")

    asyncio.run(check())
    assert "template_variables" in caplog.text
    assert "Jobs are not affected" in caplog.text


def test_without_bokeh_nothing_is_installed_and_nothing_raised() -> None:
    code = (
        "import sys; sys.modules['bokeh'] = None\n"
        "from dask_em.dashboard import install\n"
        "print(install(object()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_room_is_light_until_it_is_used() -> None:
    heavy = ["bokeh", "distributed"]
    code = f"import sys, dask_em.dashboard; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
