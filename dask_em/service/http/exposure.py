"""Who may change jobs over HTTP: nobody from afar without a token."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from dask_em.errors import AccessError

if TYPE_CHECKING:
    from distributed import Scheduler

__all__ = ["check_exposure"]


def check_exposure(scheduler: Scheduler, token: str | None) -> None:
    """Refuse that jobs are changed where anybody could.

    Parameters
    ----------
    scheduler : distributed.Scheduler
    token : str, or None
        What the gate asks for.

    Raises
    ------
    AccessError
        If there is no token and the HTTP server listens on an address that others reach.
    """
    if token:
        return
    # distributed's own list of addresses leaves out those of IPv6 where there are any of IPv4
    sockets = scheduler.http_server._sockets.values()
    exposed = [_address(one) for one in sockets if not _is_near(one)]
    if exposed:
        raise AccessError(
            f"jobs cannot be changed over HTTP: the scheduler listens on {' and '.join(exposed)}, "
            "where anybody may come, and asks for no token; give the service a token, or start "
            "the scheduler with --dashboard-address 127.0.0.1:8787"
        )


def _is_near(one: socket.socket) -> bool:
    """Whether only processes of this machine reach a socket."""
    if one.family not in (socket.AF_INET, socket.AF_INET6):
        return True  # a file, whose rights say who may
    address = ipaddress.ip_address(one.getsockname()[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _address(one: socket.socket) -> str:
    host, port = one.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
