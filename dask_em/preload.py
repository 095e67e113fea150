"""Preload: the job service and its page, ``dask scheduler --preload dask_em.preload``.

Settings are Dask's own: key ``em`` of its configuration, or DASK_EM__STORE and so on. A scheduler
that runs already gets the service by `install`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

from dask_em.service.plugin import ServicePlugin

if TYPE_CHECKING:
    from distributed import Client
    from distributed.scheduler import Scheduler

__all__ = ["dask_setup", "install"]


class Preloaded(ServicePlugin):
    """The job service with all that shows it."""

    async def start(self, scheduler: Scheduler) -> None:
        await super().start(scheduler)


async def dask_setup(scheduler: Scheduler) -> None:
    """Called by Dask."""
    scheduler.add_plugin(Preloaded())


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
    plugin: SchedulerPlugin = Preloaded(**settings)
    client.register_plugin(plugin)
