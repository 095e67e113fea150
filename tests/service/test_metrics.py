"""Figures of jobs for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dask_em.service import metrics
from tests.service.scraped import registered, scrape
from tests.service.served import Served, served


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(dashboard=False) as found:
        yield found


def test_jobs_by_state_and_what_was_counted(server: Served) -> None:
    server.service.add(state="done")
    server.service.add(state="queued")
    server.service.add(state="queued")
    counters = server.service.counters
    counters.driver_restarts, counters.passes, counters.rows = 2, 30, 40_000
    counters.nbytes, counters.submissions, counters.refusals = 10**12, 7, 5
    told = scrape(server)
    states = {label: value for (name, label), value in told.items() if name == "dask_em_jobs"}
    assert states == {"queued": 2, "running": 0, "done": 1, "failed": 0, "cancelled": 0}
    assert {name: value for (name, label), value in told.items() if not label} == {
        "dask_em_driver_restarts_total": 2,
        "dask_em_passes_total": 30,
        "dask_em_rows_read_total": 40_000,
        "dask_em_bytes_read_total": 10**12,
        "dask_em_submissions_total": 7,
        "dask_em_refusals_total": 5,
    }


def test_running_jobs_have_series_until_they_end(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = server.service.add().id
    assert ("dask_em_job_log_likelihood", job) not in scrape(server)
    server.service.add_pass(job, objective=-2.5)
    server.service.add_pass(job, objective=-1.25)
    told = scrape(server)
    assert told["dask_em_job_log_likelihood", job] == -1.25
    assert told["dask_em_job_pass_seconds", job] == 2.0
    for _ in range(4):
        server.service.add_pass(server.service.add().id)
    monkeypatch.setattr(metrics, "MOST_JOBS", 3)
    newest = sorted(view.id for view in server.service.jobs()[:3])
    for name in ("dask_em_job_log_likelihood", "dask_em_job_pass_seconds"):
        assert sorted(label for found, label in scrape(server) if found == name) == newest
    for one in server.service.jobs():
        server.service.change(one.id, state="done")
    assert not [key for key in scrape(server) if key[0].startswith("dask_em_job_")]


def test_several_schedulers_tell_their_own_jobs(server: Served) -> None:
    with served(dashboard=False) as other:
        other.service.counters.submissions = 100
        server.service.counters.submissions = 1
        for _ in range(2):
            assert scrape(other)["dask_em_submissions_total", ""] == 100
            assert scrape(server)["dask_em_submissions_total", ""] == 1
        assert registered() == 1
    assert registered() == 1
    assert scrape(server)["dask_em_submissions_total", ""] == 1


def test_it_counts_nothing_where_there_is_no_service(server: Served) -> None:
    service = server.scheduler.extensions.pop("em")
    try:
        assert scrape(server) == {}
    finally:
        server.scheduler.extensions["em"] = service
