"""The token: how a client shows that it has it, and what a browser keeps in its place."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

__all__ = ["Token"]


class Token:
    """A secret, compared in a time that tells nothing of it.

    Parameters
    ----------
    secret : str
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        # of two schedulers on one host, at two ports, a browser keeps the cookies together
        self.cookie_name = f"dask-em-{self._sign('name')[:12]}"
        self.cookie_value = self._sign("session")

    def __repr__(self) -> str:
        return "Token(...)"

    def fits(self, shown: bytes) -> bool:
        """Whether this is the secret."""
        return hmac.compare_digest(shown, self._secret)

    def is_shown_by(self, request: HTTPServerRequest) -> bool:
        """Whether a request carries it, or the cookie that was given for it."""
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.fits(shown.strip().encode("latin-1", "replace")):
            return True
        cookie = request.cookies.get(self.cookie_name)
        if cookie is None:
            return False
        return hmac.compare_digest(
            cookie.value.encode("utf-8", "replace"), self.cookie_value.encode()
        )

    def _sign(self, what: str) -> str:
        return hmac.new(self._secret, f"dask-em {what}".encode(), hashlib.sha256).hexdigest()
