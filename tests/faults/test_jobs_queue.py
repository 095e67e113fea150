"""Hundreds of jobs from many submitters, and a scheduler that is killed while they wait."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dask_em.service.client import Job, Service
from tests.faults.jobs import CHUNKS, LONG, Cluster, until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to stop or kill")

N_JOBS, SUBMITTERS, RUN = 200, 20, 8


def submitted(cluster: Cluster, owners: range) -> dict[str, set[str]]:
    """Jobs of each owner; one in two is submitted twice, under a key."""
    stopping = {"algorithm": "em", "tol": 0.0, "max_iter": 1}
    services = [Service.connect(cluster.address) for _ in owners]

    def send(owner: int) -> set[str]:
        service, found = services[owner], set[str]()
        for number in range(N_JOBS // SUBMITTERS):
            spec = cluster.spec(stopping=stopping, owner=f"owner {owner}")
            key = f"{owner} {number}" if number % 2 else None
            jobs = [service.submit(spec, idempotency_key=key).id for _ in range(2 if key else 1)]
            assert len(set(jobs)) == 1
            found.update(jobs)
        return found

    with ThreadPoolExecutor(SUBMITTERS) as threads:
        made = dict(zip((f"owner {one}" for one in owners), threads.map(send, owners), strict=True))
    for service in services:
        service.close()
    return made


def _position(job: Job) -> int:
    assert job.view.position is not None
    return job.view.position


def test_of_hundreds_none_is_lost_and_none_is_run_twice(tmp_path: Path) -> None:
    with Cluster(tmp_path, n_workers=0, seconds=0.0, max_running=4) as cluster:
        made = submitted(cluster, range(SUBMITTERS))
        ids = set().union(*made.values())
        assert len(ids) == N_JOBS

        cluster.scheduler.kill()
        cluster.scheduler.wait()
        cluster.start()
        until(lambda: len(cluster.service.jobs(state="running")) == 4, "four drivers")
        jobs = cluster.service.jobs()
        owners = {owner: {job.id for job in jobs if job.view.owner == owner} for owner in made}
        assert owners == made
        key = {"owner": "owner 3", "stopping": {"algorithm": "em", "tol": 0.0, "max_iter": 1}}
        again = cluster.service.submit(cluster.spec(**key), idempotency_key="3 1")
        assert again.id in made["owner 3"]
        assert len(cluster.service.jobs()) == N_JOBS

        # owners take turns, and drivers wait for workers
        assert len({job.view.owner for job in jobs if job.view.state == "running"}) == 4
        waiting = sorted((job for job in jobs if job.view.position), key=_position)
        assert list(map(_position, waiting)) == list(range(1, N_JOBS - 4 + 1))
        for job in waiting[RUN:]:
            job.cancel()
        cluster.start_workers(2)
        until(lambda: not cluster.service.jobs(state="queued"), "the last turn")
        for job in cluster.service.jobs(state="running"):
            job.wait(LONG)
        views = [job.view for job in cluster.service.jobs()]
        assert Counter(view.state for view in views) == {
            "done": 4 + RUN,
            "cancelled": N_JOBS - 4 - RUN,
        }
        done = [view for view in views if view.state == "done"]
        assert {(view.passes, view.restarts) for view in done} == {(2, 0)}
        assert cluster.reads() == 2 * CHUNKS * len(done)
