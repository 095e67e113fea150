"""Drivers that are cut off from the scheduler, or stopped, and come back when it is too late."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dask_em.service.client import Job
from dask_em.service.driver import driver_key
from dask_em.service.plugin import DaskLauncher
from tests.faults.jobs import PASSES, Cluster, check_as_undisturbed, until, until_passes
from tests.faults.moments import long

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to stop a process")

#: seconds after which a silent driver is lost; on a busy machine those that work need some
SILENCE = 5.0


def ip(words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words.split()], check=False, capture_output=True, text=True)


@dataclass(frozen=True)
class Cable:
    """Between this host and one that is a network namespace."""

    name: str
    near: str  # address of this end
    far: str

    def set(self, how: str) -> None:
        ip(f"link set {self.name}a {how}").check_returncode()


@pytest.fixture
def cable() -> Iterator[Cable]:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces are made by root, with the command ip")
    name = f"em{os.getpid()}"
    # of a range that is kept for tests of networks
    net = f"198.18.{random.randrange(256)}.{4 * random.randrange(64)}".rpartition(".")
    near, far = (f"{net[0]}.{int(net[2]) + end}" for end in (1, 2))
    try:
        for words in (
            f"netns add {name}",
            f"link add {name}a type veth peer name {name}b netns {name}",
            f"addr add {near}/30 dev {name}a",
            f"link set {name}a up",
            f"-n {name} addr add {far}/30 dev {name}b",
            f"-n {name} link set {name}b up",
            f"-n {name} link set lo up",
        ):
            made = ip(words)
            if made.returncode:
                pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
        yield Cable(name, near, far)
    finally:
        ip(f"link del {name}a")
        ip(f"netns del {name}")


def test_a_driver_is_cut_off_for_a_while(cable: Cable, tmp_path: Path) -> None:
    driver = ("--resources", "em-driver=1")
    with Cluster(tmp_path, n_workers=0, host=cable.near, silence=SILENCE) as cluster:
        cluster.start_workers(
            1, *driver, "--host", cable.far, before=("ip", "netns", "exec", cable.name)
        )
        cluster.start_workers(1)
        until(lambda: cluster.n_registered() == 2, "two workers")
        job = cluster.submit()
        until_passes(job, 2)
        assert cable.far in str(job.view.worker)
        stale = cluster.record(job)["checkpoint"]
        cable.set("down")
        cluster.start_workers(1, *driver)
        passes = job.refresh().passes
        took = until(lambda: job.refresh().passes > passes, "another driver")
        print(f"a pass of another driver counted {took:.1f} s after the cable was cut")
        kept = cluster.record(job)["checkpoint"]
        assert kept["run"] > stale["run"]
        cable.set("up")
        check_only_one_commits(job, cluster, kept)
        check_as_undisturbed(job, cluster)
        assert job.view.restarts == 1
        assert [mark.kind for mark in job.marks()] == ["lost"]


def check_only_one_commits(job: Job, cluster: Cluster, kept: dict[str, Any]) -> None:
    """Until the end the checkpoint that counts is one driver's, and never goes backwards."""
    commits = [kept]
    while job.refresh().state == "running":
        commits.append(cluster.record(job)["checkpoint"])
        time.sleep(0.01)
    assert {commit["run"] for commit in commits} == {kept["run"]}
    iterations = [commit["iteration"] for commit in commits]
    assert iterations == sorted(iterations)


def test_the_worker_of_the_driver_is_stopped_and_goes_on_later(tmp_path: Path) -> None:
    with Cluster(tmp_path, silence=SILENCE) as cluster:
        is_stopped(cluster)


def is_stopped(cluster: Cluster) -> None:
    job = cluster.submit()
    until_passes(job, 2)
    pid, stale = cluster.driver(job), cluster.record(job)["checkpoint"]
    os.kill(pid, signal.SIGSTOP)
    try:
        passes = job.refresh().passes
        took = until(lambda: job.refresh().passes > passes, "another driver")
        print(f"the next pass counted after {took:.1f} s of which {SILENCE:g} were silence")
        kept = cluster.record(job)["checkpoint"]
        assert kept["run"] > stale["run"]
        folder = cluster.files(job) / "checkpoints" / "{epoch}.{run}".format(**stale)
        until(lambda: not folder.exists(), "the end of the stale checkpoint")
        said = cluster.ask("em_commit", id=job.id, told=later(job), weights=[], **who(stale))
        assert "was replaced by run" in said["refused"]
    finally:
        os.kill(pid, signal.SIGCONT)
    check_only_one_commits(job, cluster, kept)
    check_as_undisturbed(job, cluster)
    assert not any(mark.kind == "failed" for mark in job.marks())


@long
@pytest.mark.parametrize(("seconds", "parted"), [(3.0, True), (1.0, False)])
def test_a_worker_that_is_silent_a_little_shorter_than_its_driver_is_silent(
    seconds: float, parted: bool
) -> None:
    removed: list[str] = []

    async def remove(address: str, stimulus_id: str) -> None:
        removed.append(address)

    worker = SimpleNamespace(address="tcp://w", last_seen=time.time() - seconds)
    task = SimpleNamespace(processing_on=worker)
    scheduler: Any = SimpleNamespace(tasks={driver_key("ab", 1): task}, remove_worker=remove)
    assert asyncio.run(DaskLauncher(scheduler).part_with_worker("ab", 1, 4.0)) is parted
    assert removed == (["tcp://w"] if parted else [])


def later(job: Job) -> dict[str, Any]:
    """A pass that nobody made yet."""
    return {**job.trace()[-1].told(), "number": PASSES + 1}


def who(commit: dict[str, Any]) -> dict[str, Any]:
    return {name: commit[name] for name in ("epoch", "run")}
