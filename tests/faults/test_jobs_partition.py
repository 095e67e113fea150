"""A driver that is cut off from the scheduler, and comes back when another one has its job."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.jobs import Cluster, check_as_undisturbed, until, until_passes


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
    with Cluster(tmp_path, n_workers=0, host=cable.near, silence=2.0) as cluster:
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
        commits = [kept]
        while job.refresh().state == "running":
            commits.append(cluster.record(job)["checkpoint"])
            time.sleep(0.01)
        assert {commit["run"] for commit in commits} == {kept["run"]}
        iterations = [commit["iteration"] for commit in commits]
        assert iterations == sorted(iterations)
        check_as_undisturbed(job, cluster)
        assert job.view.restarts == 1
        assert [mark.kind for mark in job.marks()] == ["lost"]
