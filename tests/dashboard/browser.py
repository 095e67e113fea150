"""Browser: a headless Chromium, spoken to by its own protocol of developer tools."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-port=0",
)


class Browser:
    """One page of a browser.

    Attributes
    ----------
    faults : list of str
        Errors on its console, and exceptions.
    """

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.faults: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have the browser do something."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        asked = {"id": number, "method": method, "params": parameters}
        await self._connection.write_message(json.dumps(asked))
        return await asyncio.wait_for(answer, 60)

    async def listen(self) -> None:
        """Take what the browser says, until it is gone."""
        while (text := await self._connection.read_message()) is not None:
            said = json.loads(text)
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said.get("result", said))
            elif said["method"] == "Runtime.exceptionThrown":
                self.faults.append(json.dumps(said["params"]["exceptionDetails"]))
            elif said["method"] == "Runtime.consoleAPICalled":
                if said["params"]["type"] in ("error", "assert"):
                    self.faults.append(json.dumps(said["params"]["args"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.faults.append(json.dumps(said["params"]["entry"]))

    async def run(self, code: str) -> Any:
        """The value of an expression in the page."""
        done = await self.call("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def until(self, code: str) -> Any:
        """The value of an expression once it is true."""
        async with asyncio.timeout(60):
            while not (value := await self.run(code)):
                await asyncio.sleep(0.05)
        return value

    async def resize(self, width: int, height: int) -> None:
        """Make the window as large, in pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def point(self, x: float, y: float, *, click: bool = False) -> None:
        """Move the pointer, and perhaps press it there."""
        kinds = ["mouseMoved", "mousePressed", "mouseReleased"] if click else ["mouseMoved"]
        for kind in kinds:
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    async def photograph(self, path: Path) -> None:
        """Save what is seen as a PNG."""
        shot = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def opened(url: str, profile: Path) -> AsyncIterator[Browser]:
    """A browser that shows a page, and is ended afterwards."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *_FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        connection = await websocket_connect(await _page(profile))
        browser = Browser(connection)
        listening = asyncio.create_task(browser.listen())
        for domain in ("Page", "Runtime", "Log"):
            await browser.call(f"{domain}.enable")
        await browser.call("Page.navigate", url=url)
        yield browser
        connection.close()
        await listening
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _page(profile: Path) -> str:
    """Where the tools of the one page are."""
    told = profile / "DevToolsActivePort"
    async with asyncio.timeout(60):
        while not (told.exists() and told.read_text().count("\n")):
            await asyncio.sleep(0.05)
        port = told.read_text().splitlines()[0]
        while True:
            answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")
            pages = [one for one in json.loads(answer.body) if one["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)
