"""A handler of tornado whose body has a limit, and whose answers never show a traceback."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from dask_em.errors import InputError
from dask_em.service.http.answers import Answer
from dask_em.service.http.faults import Refusal, refusal_of

__all__ = ["Bounded"]

logger = logging.getLogger(__name__)

#: bytes of a body
LARGEST_BODY = 1_000_000
#: bytes of a larger one that are read, and forgotten, so that the client sees the answer
LARGEST_PASSED_OVER = 10_000_000


@stream_request_body
class Bounded(RequestHandler):
    """Takes a body up to a limit and answers when it is there; all methods are the same to it."""

    def prepare(self) -> None:
        self.body = bytearray()
        self.received = 0  # bytes
        self.overflown = False
        declared = self.request.headers.get("Content-Length", "")
        # tornado refuses what is no number, when it comes to the body
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > LARGEST_BODY:
            self._overflow(int(declared[:20]))

    def data_received(self, chunk: bytes) -> None:
        self.received += len(chunk)
        if self.received <= LARGEST_BODY:
            self.body += chunk
        elif not self.overflown:
            self._overflow(self.received)
        elif self.received > LARGEST_PASSED_OVER:
            self.finish()

    def too_large(self) -> Answer:
        """What is answered to a body above the limit."""
        message = f"the body takes more than {LARGEST_BODY:,} bytes; give data by URL"
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return Refusal(status, InputError.__name__, message).answer()

    async def answer(self) -> None:
        """Answer the request, whose body is there."""
        raise NotImplementedError

    async def get(self, *_: str) -> None:
        if self.overflown:
            return
        try:
            await self.answer()
        except StreamClosedError:  # the client left
            pass
        except Exception as error:
            self._give_up(error)

    head = post = put = patch = delete = options = get

    def give(self, answer: Answer) -> None:
        """Write an answer, without finishing."""
        self.set_status(answer.status)
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        if answer.status == HTTPStatus.NO_CONTENT:
            self.clear_header("Content-Type")
        else:
            self.set_header("Content-Type", answer.content)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        if answer.body:
            self.write(answer.body)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer what tornado refuses: methods that it does not know, paths that are no text."""
        phrase = HTTPStatus(status_code).phrase
        kind = phrase.title().replace(" ", "")
        self.give(Refusal(status_code, kind, f"{phrase.lower()}: see openapi.json").answer())
        self.finish()

    def compute_etag(self) -> None:
        """None: the hash of a whole model would hold up the event loop."""

    def _overflow(self, size: int) -> None:
        """Answer before the body is there.

        Most clients look for an answer when they have sent all, so some of it is passed over. To
        finish earlier is to close the connection, which such a client takes for a failure.
        """
        self.overflown = True
        answer = self.too_large()
        self.give(answer)
        if size > LARGEST_PASSED_OVER or "Expect" in self.request.headers:
            self.finish()
            return
        self.set_header("Connection", "close")
        self.set_header("Content-Length", str(len(answer.body)))
        self.flush()

    def _give_up(self, error: Exception) -> None:
        refusal = refusal_of(error)
        if refusal.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("%s %s failed", self.request.method, self.request.path, exc_info=error)
        if not self._headers_written:
            self.clear()
            self.give(refusal.answer())
