"""Installation: the job service and its page in a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_em import dashboard
from dask_em.service import http
from dask_em.service.config import Settings
from dask_em.service.plugin import ServicePlugin

if TYPE_CHECKING:
    from distributed import Client
    from distributed.scheduler import Scheduler

__all__ = ["EmPlugin", "install_service"]


class EmPlugin(ServicePlugin):
    """The job service with all that shows it."""

    async def start(self, scheduler: Scheduler) -> None:
        await super().start(scheduler)
        if hasattr(scheduler, "http_application"):  # of a scheduler with an HTTP server
            http.install(scheduler)
            dashboard.install(scheduler)


def install_service(client: Client, **settings: Any) -> None:
    """Install the job service in the scheduler of a client, unless it has one.

    Parameters
    ----------
    client : distributed.Client
    **settings
        Others than the scheduler's configuration has: ``store``, ``max_running``, ``roots``,
        ``token`` and so on, see `dask_em.service.config.Settings`.

    Raises
    ------
    InputError
        If a setting cannot be.
    """
    Settings.read(**settings)
    client.register_plugin(EmPlugin(**settings))
