"""Peak memory of workers and client, and the bits, of a fit far larger than the memory.

    python -m tests.benchmarks.memory --size 8GB --workers 2 --memory 1GB
    python -m tests.benchmarks.memory --kill            one worker gets SIGKILL in mid-pass

Memory is each process's own peak resident set as the kernel counts it (VmHWM).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import dask
import psutil
from dask.utils import parse_bytes
from distributed import Client, LocalCluster

from dask_em import GaussianMixture
from dask_em.engine.monitor import Monitor, PassRecord
from tests.benchmarks.stores import planted_store


class Trace(Monitor):
    """Prints a line per pass; kills a worker in the second one if asked."""

    def __init__(self, pids: list[int], kill: bool) -> None:
        self.pids, self.kill = pids, kill

    def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
        if self.kill and iteration == 1:
            threading.Timer(1.0, os.kill, (self.pids[0], signal.SIGKILL)).start()

    def end(self, record: PassRecord) -> None:
        print(
            f"{record.kind:5} {record.iteration} {record.objective} {record.seconds:.1f} s  "
            f"{record.bytes_per_second / 1e6:.0f} MB/s  reading {record.read_seconds:.1f} s  "
            f"computing {record.compute_seconds:.1f} s  {record.n_tasks} tasks",
            flush=True,
        )


def peak(pid: int) -> float:
    """MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def events(client: Client) -> list[Any]:
    """What the scheduler heard of pauses and restarts."""
    wanted = ("pause", "restart", "remove-worker", "terminat")
    every = client.get_events("all")
    return [e for _, e in every if any(word in str(e).lower() for word in wanted)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", default="8GB")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--chunk", default="16MB")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    path = options.store or Path(tempfile.gettempdir()) / f"dask-em-{options.size}.zarr"
    planted_store(path, parse_bytes(options.size), chunk_bytes=parse_bytes(options.chunk))
    dask.config.set({"distributed.admin.log-format": "%(message)s"})
    cluster = LocalCluster(
        n_workers=options.workers,
        threads_per_worker=1,
        memory_limit=options.memory,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )
    with cluster, Client(cluster) as client:
        pids = list(client.run(os.getpid).values())
        mixture = GaussianMixture(16, tol=0, max_iter=options.iterations, random_state=0)
        begin = time.perf_counter()
        mixture.fit(str(path), client=client, monitor=Trace(pids, options.kill))
        print(f"fit: {time.perf_counter() - begin:.1f} s")
        for pid in client.run(os.getpid).values():
            spilled = client.run(lambda dask_worker: str(dask_worker.data.spilled_total))
            print(f"worker {pid}: peak {peak(pid):.0f} MB; spilled {set(spilled.values())}")
        print(f"client: peak {peak(psutil.Process().pid):.0f} MB")
        print("events:", events(client) or "no pause, no restart")
    print("means", hashlib.sha1(mixture.means_.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
