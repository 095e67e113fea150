"""Jobs are changed over HTTP by nobody from afar, unless there is a token."""

from __future__ import annotations

import socket

import pytest
from distributed import Scheduler
from tornado.netutil import bind_sockets

from dask_em import AccessError
from dask_em.service.http import check_exposure
from dask_em.service.http.table import ROOT
from tests.service.office import FIT
from tests.service.served import Served, served

JOBS = f"{ROOT}/jobs"
HELD = {"Authorization": "Bearer s3cret-token"}


def listen(server: Served, address: str, family: socket.AddressFamily) -> None:
    """Have the HTTP server listen at one more address."""
    server.call(lambda: server.scheduler.http_server.add_sockets(bind_sockets(0, address, family)))


def test_from_this_machine_alone_no_token_is_needed() -> None:
    with served(dashboard=False) as found:
        if socket.has_ipv6:
            listen(found, "::1", socket.AF_INET6)
        listen(found, "127.0.0.2", socket.AF_INET)
        check_exposure(found.scheduler, None)
        assert found.ask("POST", JOBS, FIT).status == 202


@pytest.mark.parametrize("address", ["0.0.0.0:0", ":0"])
def test_from_afar_jobs_are_shown_and_not_changed(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    with served(address=address, dashboard=False) as found:
        job = found.service.add(state="done").id
        for method, path in [
            ("POST", JOBS),
            ("POST", f"{JOBS}/{job}/cancel"),
            ("POST", f"{JOBS}/{job}/resume"),
            ("DELETE", f"{JOBS}/{job}"),
        ]:
            reply = found.ask(method, path, {} if method == "POST" else None)
            assert (reply.status, reply.error["kind"]) == (403, "AccessError")
            assert f"0.0.0.0:{found.port}" in reply.error["message"]
            assert "token" in reply.error["message"]
            assert "--dashboard-address 127.0.0.1" in reply.error["message"]
        assert found.ask("GET", f"{JOBS}/{job}").status == 200
        assert "asks for no token" in caplog.text
        found.again(token="s3cret-token")
        assert found.ask("POST", JOBS, FIT).status == 401
        assert found.ask("POST", JOBS, FIT, headers=HELD).status == 202


def test_every_socket_counts() -> None:
    with served(dashboard=False) as found:
        assert found.ask("POST", JOBS, FIT).status == 202
        listen(found, "::", socket.AF_INET6)  # beside the one of IPv4, that only this machine sees
        reply = found.ask("POST", JOBS, FIT)
        assert reply.status == 403
        assert "[::]:" in reply.error["message"]
        assert "127.0.0.1:" not in reply.error["message"].partition(";")[0]


@pytest.mark.parametrize("address", ["::ffff:127.0.0.1", "127.3.2.1", "::1"])
def test_all_that_is_near(address: str) -> None:
    class Near:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def getsockname(self) -> tuple[str, int]:
            return address, 1

    with served(dashboard=False) as found:
        found.scheduler.http_server._sockets[-1] = Near()
        try:
            check_exposure(found.scheduler, None)
        finally:
            del found.scheduler.http_server._sockets[-1]


def test_it_says_so_in_python_too() -> None:
    with served(address="0.0.0.0:0", dashboard=False) as found:
        scheduler: Scheduler = found.scheduler
        with pytest.raises(AccessError, match="give the service a token"):
            check_exposure(scheduler, None)
        check_exposure(scheduler, "s3cret-token")
