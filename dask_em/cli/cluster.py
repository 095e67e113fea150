"""The cluster of a command: one that runs, one that it starts and closes, or none."""

from __future__ import annotations

import logging
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from tempfile import TemporaryDirectory
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from dask_em.cli.options import Cluster
from dask_em.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

    from dask_em.engine.plan import Resources

__all__ = [
    "HOST",
    "PATIENCE",
    "WAIT",
    "check_reachable",
    "connected",
    "local_cluster",
    "peak_memory",
    "resources_of",
]

#: seconds to wait for a scheduler
PATIENCE = 5
#: and for its first worker
WAIT = 60.0
#: and for one that died to be back: Dask waits for 15 s, and then does without it for good
WORKER_BACK = "10 minutes"
#: nobody elsewhere can reach what listens here
HOST = "127.0.0.1"
#: where the dashboard is if the port is free
DASHBOARD = f"{HOST}:8787"

Say = Callable[[str], None]


@contextmanager
def connected(cluster: Cluster, say: Say, timeout: float = WAIT) -> Iterator[Client | None]:
    """The client to work with, None for this process; `say` is told where the dashboard is.

    Parameters
    ----------
    timeout : float
        Seconds to wait for the first worker.

    Raises
    ------
    ClusterError
        If the scheduler cannot be reached, or has no worker in time.
    """
    if cluster.scheduler is not None:
        with _reached(cluster.scheduler) as client:
            say(f"cluster {cluster.scheduler}, dashboard {client.dashboard_link}")
            _wait_for_a_worker(client, say, timeout)
            yield client
    elif cluster.n_workers is not None:
        with _started(cluster, timeout) as client:
            say(f"dashboard {client.dashboard_link}")
            yield client
    else:
        yield None


def resources_of(cluster: Cluster) -> Resources:
    """What the work would run on, as far as that is known without connecting."""
    from dask_em.engine.plan import Resources
    from dask_em.engine.runner import LocalRunner

    if cluster.n_workers is None:
        return LocalRunner().resources
    return Resources(cluster.n_workers * cluster.n_threads, cluster.n_threads, cluster.memory)


def check_reachable(cluster: Cluster) -> None:
    """Raise now what connecting would raise later, or never: nobody answers at the port.

    Raises
    ------
    ClusterError
        If no connection can be made, or nothing is said on it.
    """
    protocol, _, place = (cluster.scheduler or "").rpartition("://")
    host, _, port = place.partition("/")[0].rpartition(":")
    if protocol in ("", "tcp", "tls") and host and port.isdecimal():
        try:
            with socket.create_connection((host.strip("[]"), int(port)), PATIENCE) as connection:
                # a scheduler speaks first; the client would wait for its word without end
                if protocol != "tls" and not connection.recv(1):
                    raise ConnectionError("the connection was closed")
        except (OSError, OverflowError, UnicodeError) as error:
            raise _unreachable(cluster.scheduler or place, error) from error


@contextmanager
def _reached(address: str) -> Iterator[Client]:
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=PATIENCE)
    except Exception as error:  # whatever listens there may answer anything
        raise _unreachable(address, error) from error
    with client:
        yield client


def _unreachable(address: str, error: Exception) -> ClusterError:
    return ClusterError(
        f"no Dask scheduler answers at {address} within {PATIENCE} s ({error}); check the "
        "address, that `dask scheduler` runs there, and that no firewall is between"
    )


def _wait_for_a_worker(client: Client, say: Say, timeout: float) -> None:
    from dask_em.engine.runner import ClusterRunner

    if not client.scheduler_info()["n_workers"]:
        say(f"the cluster has no worker yet; waiting up to {timeout:g} s for one")
        # what a fit does as well, but silently; a cluster that adapts starts a worker for it
        ClusterRunner(client, timeout)


@contextmanager
def _started(cluster: Cluster, timeout: float) -> Iterator[Client]:
    from distributed import Client

    with (
        local_cluster(cluster.n_workers or 1, cluster.n_threads, cluster.memory) as started,
        Client(started) as client,
    ):
        try:
            client.wait_for_workers(cluster.n_workers or 1, timeout=timeout)
        except TimeoutError as error:
            raise ClusterError(
                f"not all of {cluster.n_workers} workers started within {timeout:g} s; give "
                "them longer with --timeout, or start fewer"
            ) from error
        yield client


@contextmanager
def local_cluster(
    n_workers: int,
    n_threads: int,
    memory: int | None,
    port: int = 0,
    dashboard: str = DASHBOARD,
) -> Iterator[LocalCluster]:
    """A scheduler and workers of this machine, which end with the context and not with Ctrl-C.

    Parameters
    ----------
    n_workers, n_threads : int
        Processes, and threads of each.
    memory : int or None
        Bytes of each worker; None for its share.
    port : int
        Of the scheduler; 0 for any.
    dashboard : str
        Its address; another port is taken where that one is not free.
    """
    import dask
    from distributed import LocalCluster

    with (
        TemporaryDirectory(prefix="dask-em-", ignore_cleanup_errors=True) as scratch,
        dask.config.set({"distributed.deploy.lost-worker-timeout": WORKER_BACK}),
    ):
        with warnings.catch_warnings(), _sigint_blocked():  # which all that is started inherits
            warnings.simplefilter("ignore")
            started = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=n_threads,
                memory_limit=memory or "auto",
                processes=True,
                host=HOST,
                scheduler_port=port,
                dashboard_address=dashboard,
                local_directory=scratch,
                silence_logs=logging.CRITICAL,
            )
        with started:
            yield started


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Processes started inside do not see Ctrl-C: whoever started them closes them."""
    if current_thread() is not main_thread():
        yield
        return
    # blocked, not ignored: what is started inherits that, and a Ctrl-C of this time is not lost
    resource_tracker.ensure_running()  # it would unblock the signal when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def peak_memory(client: Client) -> int | None:
    """The most memory that a worker has had, bytes; None where that cannot be known."""
    try:
        found = client.run(_own_peak)
    except Exception:  # a figure for the summary is not worth a finished fit
        return None
    peaks = [peak for peak in found.values() if peak is not None]
    return max(peaks, default=None)


def _own_peak() -> int | None:
    # not getrusage: it counts the process that this one was forked from
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024
