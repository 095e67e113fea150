"""The page in a real browser: drawn without errors, nothing over anything else, and it answers."""

from __future__ import annotations

import asyncio
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from distributed import Scheduler

from dask_em.dashboard import install
from tests.dashboard.browser import CHROMIUM, Browser, opened
from tests.dashboard.reports import Reports

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

EVIL = "<img src=x onerror='window.harmed=true'>"
#: Bokeh draws into shadow trees: functions that look into all of them
TOOLS = """
window.every = (root = document) => [...root.querySelectorAll('*')].flatMap(
    (one) => [one, ...(one.shadowRoot ? window.every(one.shadowRoot) : [])])
window.found = (kind) => window.every().filter(
    (one) => one.matches(kind) && one.getBoundingClientRect().height > 0)
window.said = () => window.every().filter((one) => one.children.length == 0)
    .map((one) => one.textContent).join('\\n')
window.boxes = (kind) => window.found(kind).map((one) => {
    const box = one.getBoundingClientRect()
    return [box.left, box.top, box.right, box.bottom]
})
"""
PARTS = "'.bk-Figure, .bk-DataTable, .bk-Div, .navbar'"


def some_jobs() -> Reports:
    reports = Reports()
    reports.begin("ended", state="done", ended=1.0, owner=EVIL)
    reports.read("ended", 30)
    reports.begin("failed", state="failed", ended=2.0, error=EVIL, what=EVIL, data=EVIL)
    reports.begin("runs", weights=(0.2, 0.5, 0.3), tasks=8, tasks_done=3, tags={EVIL: EVIL})
    reports.read("runs", 20)
    for kind in ("lost", "resumed", "repair"):
        reports.mark("runs", kind, 7, EVIL)
    return reports


async def visit(reports: Reports | None, profile: Path, visited: Any) -> None:
    """Have a browser on the page of a scheduler, and no fault in it at the end."""
    async with Scheduler(
        host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0", dashboard=True
    ) as scheduler:
        if reports is not None:
            scheduler.extensions["em"] = reports
        assert install(scheduler)
        url = f"http://127.0.0.1:{scheduler.http_server.port}/em"
        async with opened(url, profile) as browser:
            await browser.until("document.readyState == 'complete'")
            await browser.run(TOOLS)
            await visited(browser)
            assert browser.faults == []
            assert not await browser.run("window.harmed")


def test_page_with_jobs(tmp_path: Path) -> None:
    reports = some_jobs()

    async def look(browser: Browser) -> None:
        await browser.until("window.found('.bk-Figure').length == 5")
        await browser.until("window.said().includes('dask-em cancel runs')")
        assert EVIL in await browser.run("window.said()")
        for width in (1600, 900):
            await browser.resize(width, 900)
            await lies_side_by_side(browser, width)
        await a_point_tells(browser)
        await a_click_chooses(browser)
        reports.read("runs", 3)
        await browser.until("window.said().includes('23 / 100')")
        reports.change("runs", state="done", ended=9e9)
        await browser.until("!window.said().includes('running')")

    asyncio.run(visit(reports, tmp_path, look))


async def lies_side_by_side(browser: Browser, width: int) -> None:
    """No part of the page lies over another, and none beyond its edge."""
    async with asyncio.timeout(30):
        while True:  # until it is laid out anew
            boxes = await browser.run(f"window.boxes({PARTS})")
            over = [(a, b) for a, b in combinations(boxes, 2) if overlap(a, b)]
            inside = all(left >= 0 and right <= width + 1 for left, _, right, _ in boxes)
            if not over and inside and max(box[2] for box in boxes) > width - 50:
                return
            await asyncio.sleep(0.1)


def overlap(a: list[float], b: list[float]) -> bool:
    """Whether two boxes share more than an edge."""
    return min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 1


async def a_point_tells(browser: Browser) -> None:
    left, top, right, bottom = (await browser.run("window.boxes('.bk-Figure')"))[0]
    await browser.point((left + right) / 2, (top + bottom) / 2)
    await browser.until("window.found('.bk-Tooltip').length > 0")
    await browser.until("window.said().includes('nats per row\\ngain')")
    for part in range(25, 60):  # until the pointer is over the pass with marks
        await browser.point(left + part / 100 * (right - left), (top + bottom) / 2)
        if await browser.run("window.said().includes('lost: \u2039img')"):
            break
    await browser.until("window.said().includes('lost: \u2039img')")


async def a_click_chooses(browser: Browser) -> None:
    left, top, _, bottom = (await browser.run("window.boxes('.slick-row')"))[1]
    await browser.point(left + 10, (top + bottom) / 2, click=True)
    await browser.until("window.said().includes('dask-em resume failed')")


@pytest.mark.parametrize(
    ("reports", "said"), [(None, "runs no job service"), (Reports(), "No jobs yet")]
)
def test_page_without_jobs(reports: Reports | None, said: str, tmp_path: Path) -> None:
    async def look(browser: Browser) -> None:
        await browser.until(f"window.said().includes('{said}')")
        assert await browser.run("window.found('.bk-Figure').length") == 0

    asyncio.run(visit(reports, tmp_path, look))
