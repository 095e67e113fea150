"""A cluster with the job service whose processes can be hurt, and what jobs on it must give."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

import psutil
import zarr
from distributed.core import rpc

from dask_em import GaussianMixture
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.service.client import Job, Service
from tests.engine.sources import clusters
from tests.faults import hurting

CHUNKS, COMPONENTS, PASSES = 16, 3, 8
ROWS = clusters(CHUNKS * 100, 3, COMPONENTS)
#: seconds in which anything that is waited for has happened, on a busy machine too
LONG = 60.0


class Cluster:
    """A scheduler and workers in processes of their own.

    Parameters
    ----------
    folder : Path
        For all that it writes.
    n_workers : int
        Of one thread each, with nannies, which start them again.
    seconds : float, or None
        That a worker takes to read a chunk; None for workers as they are.
    host : str
        That the scheduler listens at.
    **settings
        Of the service.
    """

    def __init__(
        self,
        folder: Path,
        *,
        n_workers: int = 3,
        seconds: float | None = 0.03,
        host: str = "127.0.0.1",
        **settings: Any,
    ) -> None:
        self.folder, self.n_workers, self.host = folder, n_workers, host
        self.hurts = [] if seconds is None else ["--preload", "tests.faults.hurting"]
        self.store = Path(settings.setdefault("store", folder / "store"))
        self.told = folder / "told"
        self.rows = folder / "rows.zarr"
        zarr.create_array(self.rows, data=ROWS, chunks=(len(ROWS) // CHUNKS, ROWS.shape[1]))
        self.told.mkdir()
        given = {"heartbeat": 0.2, "first_pause": 0.5, **settings}
        self.environment = {
            **os.environ,
            **{f"DASK_EM__{name.upper()}": str(value) for name, value in given.items()},
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            hurting.FOLDER: str(self.told),
            hurting.SECONDS: str(seconds),
        }
        self.port = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the scheduler, at its address if it had one, and workers."""
        for path in self.told.glob("worker-*"):
            path.unlink()
        known = self.port != 0  # where the scheduler will be, so that workers may wait for it
        if known:
            self.start_workers(self.n_workers)
        self.start_scheduler()
        if not known:
            self.start_workers(self.n_workers)
        self.service = Service.connect(self.address)
        until(lambda: self.n_registered() >= self.n_workers, "the workers")

    def start_scheduler(self) -> None:
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.scheduler = self.run(
            "scheduler",
            *("--host", self.host, "--port", self.port),
            *("--dashboard-address", "127.0.0.1:0", "--scheduler-file", file),
            *("--preload", "dask_em.preload", *self.hurts),
        )
        until(file.exists, "the scheduler", self.scheduler)
        until(lambda: file.read_text().endswith("}"), "its address")
        self.address = str(json.loads(file.read_text())["address"])
        self.port = int(self.address.rpartition(":")[2])

    def start_workers(
        self, number: int, *more: object, before: Sequence[str] = ()
    ) -> subprocess.Popen[bytes] | None:
        """Start workers with more options, behind a command such as ``ip netns exec``."""
        if not number:
            return None
        return self.run(
            "worker",
            self.address,
            *("--nworkers", number, "--nthreads", 1, "--memory-limit", 0, "--no-dashboard"),
            *("--local-directory", self.folder, *self.hurts, *more),
            before=before,
        )

    def run(self, *words: object, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*before, *_tied(), sys.executable, "-m", "dask", *map(str, words)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=Path(__file__).parents[2],
                env=self.environment,
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End all processes, also those that are stopped."""
        for process in self.processes:
            family = []
            with suppress(psutil.NoSuchProcess):
                family = psutil.Process(process.pid).children(recursive=True)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for child in family:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            process.wait()
        self.processes.clear()

    # -- what it does ---------------------------------------------------------------------------

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def workers(self) -> dict[str, int]:
        """The process of each worker that lives, by its port."""
        found = {p.name.rpartition("-")[2]: int(p.read_text() or 0) for p in self.told.glob("w*")}
        return {port: pid for port, pid in found.items() if pid and psutil.pid_exists(pid)}

    def n_registered(self) -> int:
        """Workers that the scheduler knows."""
        return int(self.ask("identity")["n_workers"])

    def n_tasks(self) -> int:
        """Tasks that workers have, or wait for one."""
        told = self.ask("processing", workers=None)
        return sum(map(len, told.values()))

    def ask(self, what: str, **asked: Any) -> Any:
        """What a handler of the scheduler answers."""

        async def call() -> Any:
            async with rpc(self.address) as scheduler:
                return await getattr(scheduler, what)(**asked)

        return asyncio.run(call())

    def reads(self) -> int:
        """Chunks that all workers have read."""
        return sum(path.stat().st_size for path in self.told.glob("reads-*"))

    def spec(self, **given: Any) -> dict[str, Any]:
        return {
            "task": "fit",
            "data": {"url": str(self.rows)},
            "model": {"kind": "gaussian_mixture", "n_components": COMPONENTS, "random_state": 0},
            "stopping": {"algorithm": "em", "tol": 0.0, "max_iter": PASSES},
            "owner": "test",
            **given,
        }

    def submit(self, **given: Any) -> Job:
        return self.service.submit(self.spec(**given))

    def driver(self, job: Job) -> int:
        """The process of the worker that the job's driver is on."""
        found: list[int] = []

        def known() -> bool:
            view = job.refresh()
            pid = view.worker and self.workers().get(view.worker.rpartition(":")[2])
            found.extend([pid] if pid else [])
            return bool(pid)

        until(known, f"the driver of {job}")
        return found[-1]

    def record(self, job: Job) -> dict[str, Any]:
        """As it is stored."""
        told: dict[str, Any] = json.loads((self.files(job) / "record.json").read_text())
        return told

    def files(self, job: Job) -> Path:
        return self.store / "jobs" / job.id


def _tied() -> list[str]:
    """In front of a command: it ends with this process too, should that be killed by a limit."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


class _Objectives(Monitor):
    def __init__(self) -> None:
        self.found: list[float] = []

    def end(self, record: PassRecord) -> None:
        if record.objective is not None:
            self.found.append(record.objective)


@cache
def undisturbed(rows: Path, n_passes: int = PASSES) -> tuple[bytes, tuple[float, ...]]:
    """The bits of a fit without a service, and the objectives of its passes."""
    seen = _Objectives()
    model = GaussianMixture(COMPONENTS, random_state=0, algorithm="em", tol=0.0, max_iter=n_passes)
    with hurting.small_chunks(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not converge
        model.fit(str(rows), monitor=seen)
    return bits(model), tuple(seen.found)


def bits(model: Any) -> bytes:
    return b"".join(a.tobytes() for a in (model.weights_, model.means_, model.covariances_))


def check_as_undisturbed(job: Job, cluster: Cluster, n_passes: int = PASSES) -> None:
    """It is done, and all that it gives is as if nothing had happened."""
    expected, objectives = undisturbed(cluster.rows, n_passes)
    assert job.wait(LONG).state == "done", (job.view.error, job.logs())
    trace = job.trace()
    assert [one.number for one in trace] == list(range(1, len(trace) + 1))
    assert tuple(one.objective for one in trace if one.objective is not None) == objectives
    assert bits(job.result()) == expected


def until_passes(job: Job, number: int, more: float = 0.15) -> None:
    """Return when so many passes count, and the next one is under way."""
    until(lambda: job.refresh().passes >= number or job.view.ended, f"pass {number} of {job}")
    time.sleep(more)
    assert job.refresh().state == "running", f"{job} ended before anything was done to it"


def until(
    holds: Callable[[], Any],
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    seconds: float = LONG,
) -> float:
    """Wait for something; the seconds that it took."""
    begin = time.monotonic()
    while not holds():
        assert process is None or process.poll() is None, f"{what}: the process ended"
        took = time.monotonic() - begin
        assert took < seconds, f"{what} did not come within {seconds:g} s"
        time.sleep(0.02)
    return time.monotonic() - begin
