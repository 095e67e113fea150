"""What the routes ask of the service behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dask_em.service.view import JobView, Mark, PassView

__all__ = ["Counters", "Service", "Settings"]


class Settings(Protocol):
    """Who may ask."""

    @property
    def token(self) -> str | None:
        """What everybody has to show; without one, only this machine may change jobs."""

    @property
    def hosts(self) -> Sequence[str]:
        """Names of the scheduler beside those of its machine."""

    @property
    def open_paths(self) -> Sequence[str]:
        """Paths that need no token; one that ends in `*` stands for all that begin so."""


class Counters(Protocol):
    """What was counted since the scheduler started."""

    driver_restarts: int
    passes: int
    rows: int
    nbytes: int
    submissions: int
    refusals: int


class Service(Protocol):
    """Jobs, as the extension `em` of a scheduler keeps them.

    Its methods are called on the event loop of the scheduler, so none may block. A job is named by
    its id.
    """

    @property
    def settings(self) -> Settings:
        """As it was started with."""

    @property
    def counters(self) -> Counters:
        """What it did."""

    def jobs(
        self, *, state: str | None = None, owner: str | None = None, tag: str | None = None
    ) -> list[JobView]:
        """The jobs that fit, newest first."""

    def job(self, name: str, /) -> JobView:
        """One job."""

    def trace(self, name: str, /, after: int = 0) -> list[PassView]:
        """The passes of a job whose number is greater."""

    def marks(self, name: str, /) -> list[Mark]:
        """What befell a job."""

    def spec(self, name: str, /) -> dict[str, Any]:
        """The specification of a job, without secrets."""

    async def submit(self, spec: str | bytes, *, idempotency_key: str | None = None) -> JobView:
        """Take a job."""

    async def cancel(self, name: str, /) -> JobView:
        """End a job."""

    async def resume(self, name: str, /) -> JobView:
        """Let a job that has ended go on."""

    async def delete(self, name: str, /) -> None:
        """Forget a job that has ended."""

    async def logs(self, name: str, /, last: int = 100) -> list[dict[str, Any]]:
        """The last lines of the log of a job."""

    async def result(self, name: str, /) -> bytes:
        """The model that a job saved, zipped."""

    async def changed(self, name: str | None, version: int, timeout: float, /) -> int:
        """The version of a job, as soon as it is above the given one or the time is over."""
