"""The client, where the service is of another version or the scheduler is gone for a while."""

from __future__ import annotations

import time

import pytest

from dask_em.errors import ClusterError
from dask_em.service import connection
from dask_em.service.client import Service
from tests.cli.jobs.conftest import RUNNING, one_pass


class Told:
    """A connection on which answers are as a test has them."""

    def __init__(self, **answers):
        self.answers = answers

    def ask(self, what, asked):
        return {"value": self.answers[what]}


def test_what_a_newer_service_says_beside_is_left_out():
    job = {**RUNNING.told(), "colour": "green", "weights": [0.5, 0.5]}
    trace = [{**one_pass(1).told(), "notes": ["a"], "joules": 3}]
    marks = [{"kind": "lost", "number": 1, "at": 2.0, "text": "", "whom": "x"}]
    found = Service(Told(job=job, trace=trace, marks=marks)).job(RUNNING.id)
    assert found.view.weights == (0.5, 0.5)
    assert found.trace()[0].notes == ("a",)
    assert found.marks()[0].kind == "lost"


def test_an_older_service_is_named():
    job = RUNNING.told()
    del job["data"]
    with pytest.raises(ClusterError, match="older dask_em.*'data'.*same version here and there"):
        Service(Told(job=job)).job(RUNNING.id)


def test_a_scheduler_that_comes_back_is_waited_for(monkeypatch):
    left = [3]
    monkeypatch.setattr(time, "sleep", lambda _: left.append(left.pop() - 1))

    def ask():
        if left[0]:
            raise ClusterError("it is gone")
        return "here"

    assert connection.patiently(ask) == "here"
    left[0] = 10**9
    monkeypatch.setattr(connection, "PATIENCE", -1.0)
    with pytest.raises(ClusterError, match="it is gone"):
        connection.patiently(ask)
