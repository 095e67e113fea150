"""Jobs whose scheduler is killed, with all that Dask knew, and comes back on the same store."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_em import ClusterError
from dask_em.errors import UnknownJobError
from dask_em.service.client import Service
from tests.faults.jobs import Cluster, check_as_undisturbed, until, until_passes

FEW: dict[str, Any] = {"algorithm": "em", "tol": 0.0, "max_iter": 2}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to stop or kill")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("jobs"), n_workers=2, max_running=1) as cluster:
        yield cluster


def damaged(jobs: Path, like: Path, name: str) -> Path:
    """A copy of a job under another name."""
    folder = shutil.copytree(like, jobs / name)
    record = folder / "record.json"
    record.write_text(record.read_text().replace(like.name, name))
    return folder


def test_the_scheduler_is_killed(cluster: Cluster) -> None:
    """What ran goes on, what waited waits, what was cancelled stays so; bad files stop nobody."""
    ended = cluster.submit(stopping=FEW)
    assert ended.wait(60).state == "done"
    running, waiting, unwanted = cluster.submit(), cluster.submit(stopping=FEW), cluster.submit()
    unwanted.cancel()
    until_passes(running, 3)
    assert waiting.state == "queued"
    processes = cluster.workers().values()
    cluster.scheduler.kill()  # nobody waits for it: its process is a zombie from here on
    passes = running.view.passes

    jobs = cluster.files(ended).parent
    half = damaged(jobs, cluster.files(ended), "half-written")
    (half / "record.json").write_bytes((half / "record.json").read_bytes()[:100])
    (damaged(jobs, cluster.files(ended), "garbled") / "record.json").write_bytes(b"\xff\x00\x12")
    (damaged(jobs, cluster.files(ended), "spec") / "spec.json").write_text('{"task": "fi')
    trace = damaged(jobs, cluster.files(ended), "trace") / "trace.jsonl"
    trace.write_text(f'{trace.read_text()}{{"number": 3, "ki')
    (damaged(jobs, cluster.files(ended), "strange") / "trace.jsonl").write_text('{"a": 1}\n[]\n7')
    (jobs / "strange" / "log.jsonl").write_text('{"text": "a"}\n[]\n7')
    (jobs / "empty").mkdir()
    (jobs / "a-file").touch()

    ended_after = until(lambda: not any(map(psutil.pid_exists, processes)), "an end of workers")
    print(f"workers ended after {ended_after:.1f} s")
    cluster.start()
    service = cluster.service
    until_it_answers(service)
    found = {job.id: job for job in service.jobs()}
    took = until(lambda: service.job(running.id).view.passes > passes, "another pass")
    print(f"a pass counted {took:.1f} s after the scheduler and its workers were back")
    assert {one.id for one in (ended, running, waiting, unwanted)} <= found.keys()
    assert {"trace", "strange"} <= found.keys()
    assert not {"half-written", "garbled", "spec", "empty", "a-file"} & found.keys()
    for name in ("half-written", "garbled"):
        assert (jobs / name / "unreadable-record.json").exists()
        assert name in cluster.log.read_text()
    assert "job spec in" in cluster.log.read_text()
    assert len(found["trace"].trace()) == len(ended.trace())
    assert len(found["strange"].trace()) == 0
    with pytest.raises(UnknownJobError):
        service.job("half-written")
    assert service.job(unwanted.id).state == "cancelled"
    assert service.job(ended.id).state == "done"
    going_on = service.job(running.id)
    check_as_undisturbed(going_on, cluster)
    assert going_on.view.epoch == 2
    last = service.job(waiting.id)
    check_as_undisturbed(last, cluster, FEW["max_iter"])
    assert last.view.epoch == 1
    assert service.job(unwanted.id).view.epoch == 0


def test_another_service_works_on_the_store(cluster: Cluster, tmp_path: Path) -> None:
    known = {cluster.service.submit(cluster.spec()).id for _ in range(2)}
    before = (cluster.store / "service.json").read_bytes()
    file = tmp_path / "scheduler.json"
    cluster.run(
        "scheduler",
        *("--host", cluster.host, "--port", 0, "--dashboard-address", "127.0.0.1:0"),
        *("--scheduler-file", file, "--preload", "dask_em.preload"),
    )
    until(lambda: file.exists() and file.read_text().endswith("}"), "the other scheduler")
    other = Service.connect(json.loads(file.read_text())["address"])
    with pytest.raises(ClusterError, match=r"served by process \d+ of this machine; end that"):
        other.submit(cluster.spec())
    with pytest.raises(ClusterError, match="cannot start"):
        other.jobs()  # it knows of none, which does not mean that there are none
    assert (cluster.store / "service.json").read_bytes() == before
    assert known <= {job.id for job in cluster.service.jobs()}
    # the first one is gone without a word: the other takes over
    os.kill(cluster.scheduler.pid, signal.SIGKILL)
    cluster.scheduler.wait()
    until_it_answers(other)
    assert known <= {job.id for job in other.jobs()}
    other.close()


def until_it_answers(service: Service) -> None:
    def answers() -> bool:
        try:
            return bool(service.jobs())
        except ClusterError:
            return False

    until(answers, "an answer")
