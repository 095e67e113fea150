"""By which names a scheduler is asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from dask_em.service.http.table import ROOT
from tests.service.served import Served, served


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as found:
        yield found


@pytest.mark.parametrize(
    ("host", "served_"),
    [
        ("localhost:8787", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("10.1.2.3:80", True),
        ("[::1]:8787", True),
        (socket.gethostname(), True),
        (f"{socket.gethostname()}:1", True),
        ("evil.example", False),
        ("evil.example:8787", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("127.1", False),
        ("2130706433", False),
        ("dask.example.org", False),
        ("", False),
    ],
)
def test_only_names_of_this_machine_are_answered(server: Served, host: str, served_: bool) -> None:
    for path in ("/health", "/status", "/metrics", f"{ROOT}/jobs", "/nothing"):
        status = server.ask("GET", path, host=host).status
        assert (status == 421) is not served_
    if not served_:
        error = server.ask("GET", "/status", host=host).error
        assert error["kind"] == "AccessError"
        assert repr(host.partition(":")[0]) in error["message"]


def test_names_may_be_added() -> None:
    settings = {"hosts": ("dask.example.org", "*.cluster.local")}
    with served(settings=settings, dashboard=False) as found:
        for host in ("dask.example.org", "DASK.example.org:80", "a.b.cluster.local"):
            assert found.ask("GET", "/health", host=host).status == 200
        for host in ("example.org", "x.dask.example.org", "cluster.local", "acluster.local"):
            assert found.ask("GET", "/health", host=host).status == 421
        found.again(hosts=("*",))
        assert found.ask("GET", "/health", host="anything").status == 200


def test_the_full_name_of_the_machine_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: "Node7.Example.org")
    with served(dashboard=False) as found:
        for _ in range(1000):
            if found.ask("GET", "/health", host="node7.example.org").status == 200:
                break
        else:
            pytest.fail("it is not")
