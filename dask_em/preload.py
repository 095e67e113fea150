"""Preload: the job service and its page, ``dask scheduler --preload dask_em.preload``.

Settings are Dask's own: key ``em`` of its configuration, or DASK_EM__STORE and so on. A scheduler
that runs already gets the service by `install`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_em import dashboard
from dask_em.service import http
from dask_em.service.config import Settings
from dask_em.service.plugin import ServicePlugin

if TYPE_CHECKING:
    from distributed import Client
    from distributed.scheduler import Scheduler

__all__ = ["EmPlugin", "dask_setup", "install"]


class EmPlugin(ServicePlugin):
    """The job service with all that shows it."""

    async def start(self, scheduler: Scheduler) -> None:
        await super().start(scheduler)
        if hasattr(scheduler, "http_application"):  # of a scheduler with an HTTP server
            http.install(scheduler)
            dashboard.install(scheduler)


async def dask_setup(scheduler: Scheduler) -> None:
    """Called by Dask, before the plugins of a scheduler start.

    Raises
    ------
    InputError
        If a setting cannot be.
    """
    Settings.read()
    scheduler.add_plugin(EmPlugin())


def install(client: Client, **settings: Any) -> None:
    """Install the job service in the scheduler of a client, unless it has one.

    Parameters
    ----------
    client : distributed.Client
    **settings
        Others than the scheduler's configuration has, see `dask_em.service.config.Settings`.

    Raises
    ------
    InputError
        If a setting cannot be.
    """
    Settings.read(**settings)
    client.register_plugin(EmPlugin(**settings))
