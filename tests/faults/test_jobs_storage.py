"""Jobs whose store is full, cannot be reached or cannot be written for a while."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dask_em import ClusterError
from tests.faults.jobs import Cluster, check_as_undisturbed, until, until_passes
from tests.s3 import Bucket

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such file systems")

FEW: dict[str, Any] = {"algorithm": "em", "tol": 0.0, "max_iter": 2}
SOME: dict[str, Any] = {**FEW, "max_iter": 4}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder))
    try:
        made = subprocess.run(words, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a small disk is made with the command mount")
    if made.returncode:
        pytest.skip(f"a small disk cannot be made here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_the_disk_is_full_for_a_while(small_disk: Path, tmp_path: Path) -> None:
    settings = {"store": str(small_disk / "store"), "max_running": 1}
    with Cluster(tmp_path, n_workers=2, **settings) as cluster:
        job, later = cluster.submit(), cluster.submit(stopping=FEW)
        until_passes(job, 2)
        filler = small_disk / "filler"
        fill(filler)
        until(lambda: "No space left" in (job.refresh().error or ""), "what is wrong")
        assert "free some space" in str(job.view.error)
        passes = job.view.passes
        with pytest.raises(ClusterError, match=r"cannot be written.*No space left.*try again"):
            cluster.submit()
        assert {one.id for one in cluster.service.jobs()} == {job.id, later.id}
        with pytest.raises(ClusterError, match="cannot be written"):
            later.cancel()
        filler.unlink()
        check_as_undisturbed(job, cluster)
        check_as_undisturbed(later, cluster, FEW["max_iter"])
        assert passes >= 2
        assert len(job.logs()) < 20
        assert not list((small_disk / "store").rglob("*.tmp"))
        assert {path.name for path in cluster.files(job).parent.iterdir()} == {job.id, later.id}


def fill(path: Path) -> None:
    """Take all that is left of a disk."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


def test_the_bucket_cannot_be_reached_for_a_while(bucket: Bucket, tmp_path: Path) -> None:
    settings = {"store": bucket.url("jobs"), "store_options": bucket.options}
    with Cluster(tmp_path, n_workers=2, **settings) as cluster:
        job = cluster.submit(stopping=SOME)
        until_passes(job, 2)
        faults = [bucket.proxy.fault(kind, "") for kind in ("internal", "drop")]
        until(lambda: "cannot be written" in (job.refresh().error or ""), "what is wrong")
        with pytest.raises(ClusterError, match="cannot be written"):
            cluster.submit()
        assert any(fault.met for fault in faults)
        bucket.proxy.calm()
        check_as_undisturbed(job, cluster, SOME["max_iter"])
        assert len(cluster.service.jobs()) == 1
        found = {name.split("/")[2] for name in bucket.keys("jobs/jobs")}
        assert found == {job.id}
