"""An S3 server on loopback, behind a proxy that is slow, refuses and breaks as it is told.

The server is moto's, in a process of its own: ``python -m tests.objectstore`` runs it until its
standard input ends.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code>'
    b"<Message>%s</Message><RequestId>0</RequestId></Error>"
)
#: status and error code of what a proxy answers in place of the server
ANSWERS = {
    "slow down": (503, b"SlowDown", b"Please reduce your request rate."),
    "too many": (429, b"TooManyRequests", b"Slow down."),
    "internal": (500, b"InternalError", b"We encountered an internal error."),
    "denied": (403, b"AccessDenied", b"Access Denied"),
    "expired": (400, b"ExpiredToken", b"The provided token has expired."),
    "unknown key": (403, b"InvalidAccessKeyId", b"The AWS Access Key Id does not exist."),
    "signature": (403, b"SignatureDoesNotMatch", b"The signature does not match."),
    "no bucket": (404, b"NoSuchBucket", b"The specified bucket does not exist"),
}


@dataclass
class Fault:
    """What happens to requests whose line, such as ``GET /bucket/key``, a pattern finds.

    Parameters
    ----------
    kind : str
        "silent": no answer ever comes. "drop": the connection is closed instead of an answer.
        "truncate": half of the answer's body comes. Others: see `ANSWERS`.
    pattern : str
        A regular expression.
    times : int, optional
        How many requests are met; all by default.
    after : int
        How many are let through before.
    """

    kind: str
    pattern: str
    times: float = float("inf")
    after: int = 0
    met: int = 0

    def meets(self, line: str) -> bool:
        if not re.search(self.pattern, line):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.met >= self.times:
            return False
        self.met += 1
        return True


@dataclass
class Proxy:
    """A proxy for one server, in a thread of its own."""

    upstream: tuple[str, int]
    latency: float = 0.0  # seconds before an answer begins
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)  # "GET /bucket/key", in order
    in_flight: int = 0
    most_in_flight: int = 0
    writes: int = 0  # PUTs in flight
    most_writes: int = 0
    port: int = 0
    _idle: list[Any] = field(default_factory=list)  # connections to the server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def calm(self) -> None:
        """No faults, no latency, nothing counted."""
        self.latency, self.faults[:] = 0.0, []
        self.count()

    def count(self) -> None:
        """Count anew from here."""
        self.requests.clear()
        self.most_in_flight = self.most_writes = 0

    def fault(self, kind: str, pattern: str = "", times: float = float("inf"), after: int = 0):
        made = Fault(kind, pattern, times, after)
        self.faults.append(made)
        return made

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        clients: set[asyncio.Task[None]] = set()

        async def connected(reader: Any, writer: Any) -> None:
            task = asyncio.current_task()
            clients.add(task)
            try:
                with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    while await self._one(reader, writer):
                        pass
            finally:
                clients.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for task in list(clients):
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        for _, writer in self._idle:
            writer.close()
        await server.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False if the connection is to be closed."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        line = f"{method} {target}"
        headers = _headers(head)
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append(line)
        self.in_flight += 1
        self.writes += method == "PUT"
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.most_writes = max(self.most_writes, self.writes)
        try:
            return await self._answer(line, head, body, writer)
        finally:
            self.in_flight -= 1
            self.writes -= method == "PUT"

    async def _answer(self, line: str, head: bytes, body: bytes, writer: Any) -> bool:
        fault = next((fault for fault in self.faults if fault.meets(line)), None)
        kind = None if fault is None else fault.kind
        if kind == "silent":
            await asyncio.sleep(3600)
        await asyncio.sleep(self.latency)
        if kind == "drop":
            return False
        if kind in ANSWERS:
            writer.write(_refusal(kind, line.startswith("HEAD")))
            await writer.drain()
            return True
        answer_head, answer = await self._forward(head, body)
        writer.write(answer_head + (answer[: len(answer) // 2] if kind == "truncate" else answer))
        await writer.drain()
        return kind != "truncate"

    async def _forward(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        # one connection for each request would take longer than the answer
        idle = self._idle.pop() if self._idle else await asyncio.open_connection(*self.upstream)
        reader, writer = idle
        try:
            writer.write(_without(head, "expect", "connection") + body)
            await writer.drain()
            found = await reader.readuntil(b"\r\n\r\n")
            answer = await _body(reader, found, head.startswith(b"HEAD"))
        except BaseException:
            writer.close()
            raise
        if reader.at_eof() or _headers(found).get("connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append(idle)
        kept = _without(found, "connection", "transfer-encoding")
        if "content-length" not in _headers(kept):
            kept = kept[:-2] + b"Content-Length: %d\r\n\r\n" % len(answer)
        return kept, answer


async def _body(reader: asyncio.StreamReader, head: bytes, of_head: bool) -> bytes:
    headers = _headers(head)
    if of_head or head.split(b" ", 2)[1] in (b"204", b"304"):
        return b""
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.read()  # until the server closes the connection
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def _refusal(kind: str, without_body: bool) -> bytes:
    status, code, message = ANSWERS[kind]
    body = SLOW_DOWN % (code, message)
    head = b"HTTP/1.1 %d Refused\r\nContent-Type: application/xml\r\n" % status
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + (b"" if without_body else body)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }


def _without(head: bytes, *names: str) -> bytes:
    lines = head.split(b"\r\n")
    return b"\r\n".join(
        line for line in lines if line.partition(b":")[0].decode("latin-1").lower() not in names
    )


@contextmanager
def proxied(upstream: tuple[str, int]) -> Iterator[Proxy]:
    """A proxy that runs until the context ends."""
    proxy, ready = Proxy(upstream), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(proxy.serve(ready, stop))
        loop.close()

    thread = threading.Thread(target=run, name="proxy")
    thread.start()
    assert ready.wait(10), "the proxy does not start"
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


@contextmanager
def s3_server() -> Iterator[tuple[str, int]]:
    """moto's S3 server in a process of its own: its host and port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.objectstore"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        port = process.stdout.readline()
        assert port, "the S3 server does not start"
        yield "127.0.0.1", int(port)
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def main() -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
