"""Connection: the job service that a command speaks to."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dask_em.cli.cluster import PATIENCE, check_reachable
from dask_em.cli.options import Cluster
from dask_em.cli.outcome import wrong_usage

if TYPE_CHECKING:
    from dask_em.service.client import Service

__all__ = ["address_of", "again", "connected_to", "known_address"]


@contextmanager
def connected_to(scheduler: str | None) -> Iterator[Service]:
    """The job service of a scheduler.

    Parameters
    ----------
    scheduler : str or None
        Its address; None for the one that Dask is configured with.

    Raises
    ------
    typer.Exit
        If no scheduler is named anywhere.
    ClusterError
        If none answers there, or it has no job service.
    """
    address = address_of(scheduler)
    check_reachable(Cluster(address, None, None, 1))
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    from dask_em.service.client import Service

    service = Service.connect(address, timeout=PATIENCE)
    try:
        yield service
    finally:
        service.close()


def address_of(scheduler: str | None) -> str:
    """The address of the scheduler that is meant.

    Raises
    ------
    typer.Exit
        If there is none.
    """
    found = known_address(scheduler)
    if found is None:
        raise wrong_usage(
            "no scheduler is named; pass --scheduler, e.g. --scheduler tcp://127.0.0.1:8786, or "
            "set DASK_SCHEDULER_ADDRESS. dask-em serve starts one with the job service here"
        )
    return found


def known_address(scheduler: str | None) -> str | None:
    """The same, or None."""
    import dask

    found = scheduler or dask.config.get("scheduler-address", None)
    return None if found is None else str(found)


def again(command: str, scheduler: str | None) -> str:
    """A command of this service as a shell takes it; what is configured need not be said."""
    return command if scheduler is None else f"{command} --scheduler {shlex.quote(scheduler)}"
