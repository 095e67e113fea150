"""The client of the service, where the scheduler comes and goes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from distributed import Client, LocalCluster

from dask_em.errors import ClusterError
from dask_em.service import connection
from dask_em.service.client import Job, Service
from tests.cli.jobs.conftest import RUNNING as VIEW


class Connection:
    """A scheduler that is gone for some questions."""

    def __init__(self, gone_for):
        self.gone_for, self.asked = gone_for, 0

    def ask(self, what, asked):
        self.asked += 1
        if self.asked <= self.gone_for:
            raise ClusterError("no scheduler answers")
        view = replace(VIEW, state="done", version=VIEW.version + 1)
        return {"value": view.version if what == "changed" else view.told()}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(connection, "PAUSE", 0.001)


def job(gone_for):
    return Job(Service(Connection(gone_for)), VIEW.told())


def test_a_scheduler_that_is_gone_when_one_begins_to_wait_is_waited_for():
    assert job(3).wait().state == "done"
    assert job(3).wait(30.0).state == "done"
    assert [one.state for one in job(3).watch()] == ["running", "done"]


def test_it_is_waited_for_no_longer_than_is_said(monkeypatch):
    waiting = job(1_000_000)
    with pytest.raises(ClusterError, match="no scheduler answers"):
        waiting.wait(0.02)
    monkeypatch.setattr(connection, "PATIENCE", 0.02)
    for wait in (waiting.wait, lambda: list(waiting.watch())):
        with pytest.raises(ClusterError, match="no scheduler answers"):
            wait()


def test_what_was_closed_says_so():
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster:
        with Client(cluster, set_as_default=False) as of_dask:
            service = Service.connect(of_dask)
        own = Service.connect(cluster.scheduler_address)
        own.close()
    for closed in (service, own):
        with pytest.raises(ClusterError, match="closed; connect"):
            closed.jobs()
