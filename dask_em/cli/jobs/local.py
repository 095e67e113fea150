"""Local: a scheduler with the job service, and its workers, on this machine alone."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_em.cli.cluster import HOST, WAIT, local_cluster
from dask_em.errors import ClusterError, UnknownJobError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["LocalService", "served"]


@dataclass(frozen=True)
class LocalService:
    """Where a service is reached."""

    scheduler: str
    dashboard: str  # its first page

    @property
    def page(self) -> str:
        return f"{self._root}/em"

    @property
    def rest(self) -> str:
        return f"{self._root}/em/api/v1/jobs"

    @property
    def _root(self) -> str:
        return self.dashboard.rpartition("/")[0]


@contextmanager
def served(
    settings: dict[str, Any],
    n_workers: int,
    n_threads: int,
    memory: int | None,
    ports: tuple[int, int],
) -> Iterator[LocalService]:
    """Start a scheduler with the job service, and workers; end them with the context.

    Parameters
    ----------
    settings : dict
        Of the job service, see `dask_em.service.config.Settings`.
    n_workers, n_threads : int
        Processes, and threads of each.
    memory : int or None
        Bytes of each worker; None for its share.
    ports : tuple of int
        Of the scheduler and of the dashboard; 0 for any.

    Raises
    ------
    InputError
        If a setting cannot be.
    ClusterError
        If a port is taken, workers do not start, or another service works on the store.
    """
    from distributed import Client

    from dask_em.service.config import Settings

    Settings.read(**settings)  # a scheduler would tell of it in many words
    for option, port in zip(("--port", "--dashboard-port"), ports, strict=True):
        _check_free(port, option)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    port, dashboard = ports
    with (
        local_cluster(0, n_threads, memory, port, f"{HOST}:{dashboard}") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        _install(client, settings)
        cluster.scale(n_workers)
        try:
            client.wait_for_workers(n_workers, timeout=WAIT)
        except TimeoutError as error:
            raise ClusterError(
                f"not all of {n_workers} workers started within {WAIT:g} s; start fewer with "
                "--workers"
            ) from error
        yield LocalService(str(cluster.scheduler_address), str(cluster.dashboard_link))


def _install(client: Client, settings: dict[str, Any]) -> None:
    from dask_em.installation import install_service
    from dask_em.service.client import Service

    logger = logging.getLogger("dask_em.service")
    logger.setLevel(logging.CRITICAL)  # what it warns of now is raised below
    install_service(client, **settings)
    with suppress(UnknownJobError):  # a service that cannot start says why to whoever asks
        Service.connect(client).job("-")
    logger.setLevel(logging.NOTSET)


def _check_free(port: int, option: str) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the scheduler does
        try:
            taken.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise ClusterError(
                f"port {port} of {HOST} cannot be used ({error}), perhaps another service runs "
                f"there; end that, or give another {option}, 0 for any"
            ) from error
