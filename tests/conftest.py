"""Fixtures and profiles for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import pytest
from distributed.utils import get_mp_context
from hypothesis import HealthCheck, settings

from tests.s3 import bucket, s3_proxy  # noqa: F401

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

#: settings of Dask, for this process and for those that tests start
SETTINGS = {
    # a shared machine is slow at times: a worker that died and is not back after 15 s would be
    # done without for good
    "distributed.deploy.lost-worker-timeout": "10 minutes"
}
if sys.platform == "linux":
    # hundreds of workers are started, and what each imports takes seconds
    SETTINGS["distributed.worker.multiprocessing-method"] = "forkserver"
dask.config.set(SETTINGS)
for setting, value in SETTINGS.items():
    os.environ["DASK_" + setting.upper().replace(".", "__").replace("-", "_")] = value
if sys.platform == "linux":
    get_mp_context().set_forkserver_preload(["distributed", "dask_em.service.driver"])

# no example has a deadline: see above
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: many tests wait for others, and for pauses to end."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else 2


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout."""
    folder = Path(__file__).parent.parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("there is no folder shared/data with real data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """A scheduler and two workers of one thread each, in processes of their own."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit="1GiB",
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client of the session's cluster, the current one while the test runs."""
    from distributed import Client

    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        yield client
