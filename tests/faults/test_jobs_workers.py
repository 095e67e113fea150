"""Jobs whose drivers, workers and clients are lost while the scheduler stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from distributed import Client, Future

from dask_em.service.client import Job
from tests.faults.jobs import (
    CHUNKS,
    PASSES,
    Cluster,
    check_as_undisturbed,
    until,
    until_passes,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to stop or kill")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("jobs")) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """With all its workers, whatever became of them in another test."""
    until(lambda: shared.n_registered() >= shared.n_workers, "all workers")
    return shared


def test_a_client_is_killed_after_it_submitted(cluster: Cluster) -> None:
    before = cluster.reads()
    words = "import sys, time, dask_em; job = dask_em.submit(sys.argv[1], client=sys.argv[2])"
    user = subprocess.Popen(
        [
            *(sys.executable, "-c", f"{words}; print(job.id, flush=True); time.sleep(99)"),
            *(json.dumps(cluster.spec()), cluster.address),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert user.stdout is not None
    submitted = user.stdout.readline().strip()
    user.kill()
    user.communicate()
    job = cluster.service.job(submitted)
    check_as_undisturbed(job, cluster)
    assert cluster.reads() - before == (PASSES + 1) * CHUNKS
    assert (job.view.epoch, job.view.restarts) == (1, 0)


def test_the_worker_of_the_driver_is_killed_six_times(cluster: Cluster) -> None:
    """Each time a pass is lost at most."""
    before = cluster.reads()
    job = cluster.submit()
    for number in range(6):
        until_passes(job, number + 1)
        os.kill(cluster.driver(job), signal.SIGKILL)
    check_as_undisturbed(job, cluster)
    read = (cluster.reads() - before) / CHUNKS
    print(f"{read:.1f} passes were read for {PASSES + 1}, {job.view.epoch} drivers")
    assert PASSES + 1 <= read <= PASSES + 1 + 6
    lost = [mark for mark in job.marks() if mark.kind == "lost"]
    assert len(lost) == job.view.restarts == 6


def test_other_workers_are_killed_in_a_pass(cluster: Cluster) -> None:
    job = cluster.submit()
    for number in (2, 4):
        until_passes(job, number)
        driver = cluster.driver(job)
        os.kill(next(pid for pid in cluster.workers().values() if pid != driver), signal.SIGKILL)
    check_as_undisturbed(job, cluster)
    assert (job.view.epoch, job.view.restarts) == (1, 0)


def restart(client: Client, job: Job) -> None:
    client.restart(wait_for_workers=False)


def cancel(client: Client, job: Job) -> None:
    driver = Future(f"em-driver-{job.id}-{job.refresh().epoch}", client=client)
    client.cancel([driver], force=True)


@pytest.mark.parametrize("harm", [restart, cancel])
def test_another_user_cancels_all_drivers(
    harm: Callable[[Client, Job], None], cluster: Cluster
) -> None:
    job = cluster.submit()
    until_passes(job, 3)
    with Client(cluster.address, set_as_default=False) as client:
        harm(client, job)
    check_as_undisturbed(job, cluster)
    assert (job.view.epoch, job.view.restarts) == (2, 1)
    assert "cancelled" in next(mark.text for mark in job.marks() if mark.kind == "lost")


def test_where_checkpoints_go_is_a_file_for_a_while(cluster: Cluster) -> None:
    """The job says so, tries again after pauses, and goes on when that is mended."""
    job = cluster.submit()
    until_passes(job, 3)
    folder = cluster.files(job) / "checkpoints"
    aside = folder.rename(folder.with_name("aside"))
    folder.touch()
    until(lambda: "tried again in" in job.logs(1)[0]["text"], "a pause")
    view = job.refresh()
    assert view.state in ("queued", "running")
    assert view.passes >= 3
    assert view.error is not None
    assert "checkpoint" in view.error
    assert list(aside.iterdir())
    folder.unlink()
    aside.rename(folder)
    check_as_undisturbed(job, cluster)


def test_a_job_that_is_cancelled_commits_nothing_later(cluster: Cluster) -> None:
    job = cluster.submit()
    until_passes(job, 3)
    assert job.cancel().state == "cancelled"
    record, read = cluster.record(job), cluster.reads()
    until(lambda: cluster.n_tasks() == 0, "an end of its tasks")
    assert cluster.reads() - read <= CHUNKS
    assert cluster.record(job) == record
    assert job.resume().state in ("queued", "running")
    check_as_undisturbed(job, cluster)
