"""Routes that keep a scheduler closed until its gate stands.

A scheduler listens before it runs what it preloads, and what that reads may take a while. Where
there is a token, this module comes first in `distributed.scheduler.http.routes`; `install` takes
its rule away. If that never happens, the scheduler stays closed, but for the list of its paths.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from dask_em.errors import ClusterError
from dask_em.service.http.bounded import Bounded
from dask_em.service.http.faults import Refusal

if TYPE_CHECKING:
    from distributed import Scheduler

__all__ = ["Closed", "routes"]


class Closed(Bounded):
    """Answers that the scheduler is starting."""

    def initialize(self, dask_server: Scheduler) -> None:
        """Take what every handler of a scheduler is given."""

    async def answer(self) -> None:
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            ClusterError.__name__,
            "the scheduler is starting, and nobody is let in yet; ask again, and if it stays so, "
            "see its log",
            {"Retry-After": "1"},
        )


routes: list[tuple[str, Any, dict[str, Any]]] = [(r"/(?!health$).*", Closed, {})]
