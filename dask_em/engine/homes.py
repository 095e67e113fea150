"""Homes: the worker of each task, pass after pass, so that it finds the chunks it kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from dask_em.engine.cache import Cache, hold
from dask_em.engine.workers import workers_of

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Homes", "housed"]


class Homes:
    """Where the tasks of one fit belong, and the caches of the workers there.

    Each cache is the result of a task, held by a future. So chunks are freed when this is given
    up, when the client vanishes, and when a worker runs out of memory and writes what it holds to
    disk.
    """

    def __init__(self, client: Client, cache: Cache, priority: int = 0) -> None:
        self._client, self._cache, self._priority = client, cache, priority
        self._caches: dict[str, Future[Any]] = {}  # by the address of their worker
        self._names = (f"em-cache-{cache.token}-{number}" for number in count())
        self._homes: list[str] = []  # of each task

    def wishes(self, n_tasks: int) -> list[dict[str, Any]]:
        """Options with which to submit each task, for the workers that are there now."""
        workers = workers_of(self._client)
        threads = {address: worker["nthreads"] for address, worker in workers.items()}
        self._hold(threads)
        self._homes = housed(self._homes, threads, n_tasks)
        if not self._homes:
            return [{} for _ in range(n_tasks)]
        # a wish: when its worker is busy or lost, any other runs the task and reads for itself
        return [{"workers": [home], "allow_other_workers": True} for home in self._homes]

    def _hold(self, addresses: Mapping[str, int]) -> None:
        self._caches = {
            address: future
            for address, future in self._caches.items()
            # a worker that somebody restarted may be back at its address
            if address in addresses and future.status in ("pending", "finished")
        }
        for new in addresses.keys() - self._caches.keys():
            self._caches[new] = self._client.submit(
                hold,
                self._cache,
                key=next(self._names),
                workers=[new],
                pure=False,
                priority=self._priority,
            )


def housed(homes: Sequence[str], threads: Mapping[str, int], n_tasks: int) -> list[str]:
    """A home for each task, in proportion to the threads, changing as few as possible.

    Parameters
    ----------
    homes : sequence of str
        The homes until now, or none.
    threads : mapping of str to int
        Threads of the workers that are there.
    n_tasks : int

    Returns
    -------
    list of str
        Of `n_tasks`; empty without workers.
    """
    if not threads:
        return []
    most = {address: _ceil(n_tasks * n, sum(threads.values())) for address, n in threads.items()}
    number = dict.fromkeys(threads, 0)
    found: list[str | None] = []
    # the last tasks of a worker go first: the first ones filled its cache
    for home in homes if len(homes) == n_tasks else [None] * n_tasks:
        if home is None or number.get(home, 0) >= most.get(home, 0):
            found.append(None)
            continue
        found.append(home)
        number[home] += 1
    takers = []
    for _ in range(found.count(None)):
        takers.append(min(threads, key=lambda address: (number[address] + 1) / threads[address]))
        number[takers[-1]] += 1
    # neighbours together: their results are merged first
    taking = iter(sorted(takers))
    return [next(taking) if home is None else home for home in found]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
