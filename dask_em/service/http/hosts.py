"""By which names a scheduler may be asked: what keeps a page of another name from asking it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from fnmatch import fnmatchcase
from http import HTTPStatus

from dask_em.errors import AccessError
from dask_em.service.http.faults import Refusal

__all__ = ["Hosts"]


class Hosts:
    """The names that stand for this machine.

    A browser that was given a name whose address then turns into this machine's sends that name:
    so names are compared, not addresses. Literal addresses cannot be turned.

    Parameters
    ----------
    names : iterable of str
        Beside the machine's own. `*.example.org` stands for every name that ends so, `*` for all.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {_plain(name) for name in (*names, "localhost", socket.gethostname())}

    def ask(self) -> None:
        """Have the machine's full name looked up, which may wait for the network."""
        found = asyncio.get_running_loop().run_in_executor(None, socket.getfqdn)
        found.add_done_callback(self._add)

    def _add(self, found: asyncio.Future[str]) -> None:
        if not found.cancelled() and found.exception() is None:
            self._names.add(_plain(found.result()))

    def refusal(self, host: str) -> Refusal | None:
        """Why a request for this host, without its port, is not served; None if it is."""
        name = _plain(host)
        if _is_address(name) or any(fnmatchcase(name, known) for known in self._names):
            return None
        return Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            AccessError.__name__,
            f"{name!r} is no name of this scheduler; ask for its address, or add the name to the "
            "hosts in the settings of the service",
        )


def _plain(name: str) -> str:
    return name.strip().lower().rstrip(".").removeprefix("[").removesuffix("]")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
