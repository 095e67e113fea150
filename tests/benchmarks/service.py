"""What the job service costs: to submit, to cancel, to fit in a job, and a queue of hundreds.

    python -m tests.benchmarks.service submit      seconds until there is an id
    python -m tests.benchmarks.service cancel      seconds until no thread works on the job
    python -m tests.benchmarks.service overhead    a pass in a job against one from a client
    python -m tests.benchmarks.service queue       200 jobs from 20 submitters: lag of the loop

The scheduler and two workers of one thread each are processes of their own.
"""

from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from distributed import Client

from dask_em import GaussianMixture
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.service.client import Service
from tests.benchmarks.stores import planted_store
from tests.faults.jobs import Cluster

SUBMITTERS = 20


def submit(cluster: Cluster, repeats: int) -> None:
    """From a connection of its own, and from a client's; the jobs wait behind one another."""
    print(f"the first: {1000 * _seconds(cluster.submit):.0f} ms")
    with Client(cluster.address, set_as_default=False) as client:
        for name, service in (("address", cluster.service), ("client", Service.connect(client))):
            send = partial(service.submit, cluster.spec())
            found = [1000 * _seconds(send) for _ in range(repeats)]
            print(f"by {name}: median {median(found):.1f} ms, worst {max(found):.1f} ms")


def cancel(cluster: Cluster, repeats: int, rows: Path) -> None:
    with Client(cluster.address, set_as_default=False) as client:
        found = []
        for _ in range(repeats):
            job = cluster.submit(**_long(rows))
            # in a pass of EM: after the first one a driver seeds, for seconds in one call
            _until(lambda: job.refresh().passes >= 2)  # noqa: B023 - at once
            time.sleep(0.5)
            begin = time.perf_counter()
            job.cancel()
            said = time.perf_counter() - begin
            _until(lambda: not any(client.run(_busy).values()))
            found.append(time.perf_counter() - begin)
            print(f"answered after {said:.3f} s, no thread works on it after {found[-1]:.3f} s")
        print(f"median {median(found):.3f} s, worst {max(found):.3f} s")


def overhead(cluster: Cluster, repeats: int, rows: Path, passes: int) -> None:
    """Pairs of fits; of each the median time from the end of a pass to that of the next.

    What a job adds lies between passes, mostly: that part is told too, as other work on the machine
    changes it less.
    """
    ratios, added = [], []
    with Client(cluster.address, set_as_default=False) as client:
        for number in range(repeats):
            pair: dict[str, tuple[float, float]] = {}
            for way in ("client", "job")[:: 1 if number % 2 else -1]:
                pair[way] = (
                    _in_job(cluster, rows, passes)
                    if way == "job"
                    else _by_client(client, rows, passes, cluster.folder / f"kept-{number}")
                )
            ratios.append(100 * pair["job"][0] / pair["client"][0] - 100)
            added.append(1000 * (pair["job"][1] - pair["client"][1]))
            told = [f"{way} {pair[way][0]:.3f} s a pass" for way in ("client", "job")]
            between = f"{added[-1]:+.1f} ms between passes"
            print(f"{', '.join(told)}: {ratios[-1]:+.1f}%, {between}", flush=True)
    print(
        f"median of {repeats} pairs: {median(ratios):+.1f}%, {median(added):+.1f} ms between passes"
    )


def queue(cluster: Cluster, n_jobs: int) -> None:
    """Every second job is submitted twice under a key; each runs once, none is lost."""
    with Client(cluster.address, set_as_default=False) as client:
        client.run_on_scheduler(_measure_lag)
        services = [Service.connect(cluster.address) for _ in range(SUBMITTERS)]
        spec = cluster.spec(stopping={"algorithm": "em", "tol": 0.0, "max_iter": 1})

        def send(number: int) -> list[str]:
            service = services[number % SUBMITTERS]
            key = f"key-{number}" if number % 2 else None
            times = 2 if key else 1
            return [service.submit(spec, idempotency_key=key).id for _ in range(times)]

        begin = time.perf_counter()
        with ThreadPoolExecutor(SUBMITTERS) as threads:
            sent = list(threads.map(send, range(n_jobs)))
        took = time.perf_counter() - begin
        print(f"{sum(map(len, sent))} submissions of {n_jobs} jobs took {took:.1f} s")
        _tell_lag(client, "while they were submitted")
        _until(lambda: not cluster.service.jobs(state="queued"), 1.0, seconds=1800)
        for job in cluster.service.jobs(state="running"):
            job.wait(60)
        print(f"all ended after {time.perf_counter() - begin:.1f} s")
        _tell_lag(client, "while they ran")
    views = [job.view for job in cluster.service.jobs()]
    ids = {one for same in sent for one in same}
    assert all(len(set(same)) == 1 for same in sent), "a key gave two jobs"
    assert ids == {view.id for view in views}, "a job was lost"
    states = Counter((view.state, view.epoch, view.passes) for view in views)
    print("state, drivers, passes of jobs:", dict(states))
    for service in services:
        service.close()


class _Ends(Monitor):
    """When passes ended, and how long they took."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    def end(self, record: PassRecord) -> None:
        self.found.append((time.time(), record.seconds))


def _by_client(client: Client, rows: Path, passes: int, checkpoint: Path) -> tuple[float, float]:
    ends, spec = _Ends(), _long(rows)["model"]
    GaussianMixture(
        spec["n_components"], random_state=0, algorithm="em", tol=0.0, max_iter=passes
    ).fit(str(rows), client=client, monitor=ends, checkpoint=checkpoint)
    return _of_a_pass(ends.found)


def _in_job(cluster: Cluster, rows: Path, passes: int) -> tuple[float, float]:
    job = cluster.submit(**_long(rows, passes))
    assert job.wait(600).state == "done", job.view.error
    return _of_a_pass([(one.ended, one.seconds) for one in job.trace()])


def _of_a_pass(passes: list[tuple[float, float]]) -> tuple[float, float]:
    """Seconds of a pass with what follows it, and of what follows it alone."""
    steps = [(after - before, seconds) for (before, _), (after, seconds) in pairwise(passes[1:])]
    return median(step for step, _ in steps), median(step - seconds for step, seconds in steps)


def _long(rows: Path, passes: int = 1000) -> dict[str, Any]:
    return {
        "data": {"url": str(rows)},
        "model": {"kind": "gaussian_mixture", "n_components": 16, "random_state": 0},
        "stopping": {"algorithm": "em", "tol": 0.0, "max_iter": passes},
    }


def _measure_lag(dask_scheduler: Any) -> None:
    """How much later than asked for the loop comes back, again and again."""
    import asyncio
    import time

    late: list[float] = []
    dask_scheduler.extensions["lag"] = late

    async def measure() -> None:
        while True:
            asked = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - asked)

    dask_scheduler.extensions["lag-task"] = asyncio.ensure_future(measure())


def _taken(dask_scheduler: Any) -> list[float]:
    late = dask_scheduler.extensions["lag"]
    found = list(late)
    late.clear()
    return found


def _tell_lag(client: Client, when: str) -> None:
    late = 1000 * np.array(client.run_on_scheduler(_taken))
    middle, most = np.percentile(late, [50, 99])
    print(f"lag {when}: median {middle:.1f} ms, 99% {most:.1f} ms, worst {late.max():.1f} ms")


def _busy(dask_worker: Any) -> int:
    return len(dask_worker.active_keys)


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _until(holds: Callable[[], Any], pause: float = 0.005, seconds: float = 120.0) -> None:
    begin = time.perf_counter()
    while not holds():
        assert time.perf_counter() - begin < seconds, f"not within {seconds:g} s"
        time.sleep(pause)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=["submit", "cancel", "overhead", "queue"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--passes", type=int, default=10, help="of a fit, for overhead")
    parser.add_argument("--size", type=int, default=192 << 20, help="bytes, for a pass of 1 s")
    parser.add_argument("--jobs", type=int, default=200, help="in the queue")
    parser.add_argument("--running", type=int, default=2, help="jobs at a time")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = Path(tempfile.gettempdir()) / f"dask-em-service-{options.size}.zarr"
    if options.what in ("cancel", "overhead"):
        planted_store(rows, options.size)
    folder = Path(tempfile.mkdtemp(prefix="dask-em-service-"))
    try:
        with Cluster(
            folder, n_workers=2, seconds=None, heartbeat=1.0, max_running=options.running
        ) as cluster:
            if options.what == "submit":
                submit(cluster, 4 * options.repeats)
            elif options.what == "cancel":
                cancel(cluster, options.repeats, rows)
            elif options.what == "overhead":
                overhead(cluster, options.repeats, rows, options.passes)
            else:
                queue(cluster, options.jobs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
