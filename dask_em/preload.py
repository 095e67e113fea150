"""Preload: the job service and its page, ``dask scheduler --preload dask_em.preload``.

Settings are Dask's own: key ``em`` of its configuration, or DASK_EM__STORE and so on. To import
this module changes Dask's configuration; a scheduler that runs already gets the service by
`dask_em.install_service`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask

from dask_em.installation import EmPlugin
from dask_em.service.config import Settings

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = ["dask_setup"]

ROUTES = "distributed.scheduler.http.routes"
CLOSED = "dask_em.service.http.closed"

# a scheduler imports this before it listens; where there is a token, nobody is to slip in before
# it is asked for
if Settings.read().token is not None and CLOSED not in dask.config.get(ROUTES):
    dask.config.set({ROUTES: [CLOSED, *dask.config.get(ROUTES)]})


async def dask_setup(scheduler: Scheduler) -> None:
    """Called by Dask."""
    scheduler.add_plugin(EmPlugin())
