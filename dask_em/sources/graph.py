"""Dask graphs, cut into what each chunk needs and run where the chunk is wanted."""

from __future__ import annotations

import warnings
from asyncio import CancelledError
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import dask.array
from dask._task_spec import Alias, DataNode, Task, convert_legacy_graph
from dask.highlevelgraph import HighLevelGraph
from dask.local import get_sync
from dask.utils import ensure_dict

from dask_em.engine.task import BlockLostError, make_way

__all__ = [
    "Blocks",
    "Graph",
    "Key",
    "awaited",
    "optimized",
    "run",
    "shares_work",
    "task_graph",
    "upstream",
]

Key: TypeAlias = Any
Graph: TypeAlias = Mapping[Key, Any]

#: seconds after which a block that is not on the cluster is taken for lost
PATIENCE = 30.0


@dataclass(frozen=True)
class Blocks:
    """The keys of a dask array's blocks, by cell of the sample axes."""

    name: str
    counts: tuple[int, ...]  # blocks along each sample axis
    features: int | None  # blocks along the feature axis; None where there is no such axis

    @classmethod
    def of(cls, array: Any, features: bool) -> Blocks:
        counts = array.numblocks
        return (
            cls(array.name, counts[:-1], counts[-1]) if features else cls(array.name, counts, None)
        )

    def keys(self, cell: Sequence[int]) -> list[Key]:
        """The keys of one cell, its features in order."""
        if self.features is None:
            return [(self.name, *cell)]
        return [(self.name, *cell, part) for part in range(self.features)]


def optimized(arrays: Sequence[Any]) -> dict[Key, Any]:
    """One graph of all arrays: culled, fused, in dask's task form, and free of futures."""
    merged = HighLevelGraph.merge(*(array.__dask_graph__() for array in arrays))
    futures = _futures(merged)
    keys = [array.__dask_keys__() for array in arrays]
    graph = convert_legacy_graph(ensure_dict(dask.array.optimization.optimize(merged, keys)))
    # a block on a cluster is not in the graph; it is fetched by the task that wants it
    for key, future in futures.items():
        graph.setdefault(key, Task(key, Fetched(future)))
    return dict(graph)


def task_graph(graph: Mapping[Key, Any], keys: Sequence[Key]) -> dict[Key, Any]:
    """What some keys of a graph need, in dask's task form, and free of futures."""
    whole = ensure_dict(graph)
    futures = {key: value for key, value in whole.items() if _is_future(value)}
    found = dict(convert_legacy_graph({k: v for k, v in whole.items() if k not in futures}))
    for key, future in futures.items():
        found[key] = Task(key, Fetched(future))
    return upstream(found, keys)


@dataclass(frozen=True, eq=False)
class Fetched:
    """Brings a block that was persisted on a cluster to where it is called."""

    future: Any  # hidden in here, dask does not take it for a dependency

    def __call__(self) -> Any:
        if self.future.client is None:
            self._bind()
        patience = PATIENCE
        while True:
            try:
                return self.future.result(timeout=patience)
            except TimeoutError:
                if self.future.status == "error":  # making it ran into a time limit
                    raise
            except CancelledError as error:
                raise BlockLostError(
                    f"block {self.future.key} of a persisted array is on the cluster no more"
                ) from error
            if self.future.done():
                patience *= 2  # it is there, and takes long to come
            else:
                make_way(self.future.key)

    def _bind(self) -> None:
        # a future that travelled knows its key alone; only its client says that it is wanted here
        from distributed import get_client

        client = get_client()
        self.future.bind_client(client)
        client._inform_scheduler_of_futures()


def _futures(graph: HighLevelGraph) -> dict[Key, Any]:
    return {
        key: value
        for layer in graph.layers.values()
        if layer.is_materialized()
        for key, value in layer.items()
        if _is_future(value)
    }


def _is_future(value: Any) -> bool:
    return hasattr(value, "result") and hasattr(value, "release")


def awaited(graph: Graph) -> list[Any]:
    """The futures of the blocks that the graph fetches from a cluster."""
    tasks = (getattr(node, "func", None) for node in graph.values())
    return [func.future for func in tasks if isinstance(func, Fetched)]


def upstream(graph: Graph, keys: Iterable[Key]) -> dict[Key, Any]:
    """The part of a graph that the keys need, in time proportional to that part."""
    found: dict[Key, Any] = {}
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found[key] = graph[key]
            waiting.extend(graph[key].dependencies)
    return found


def _shared_task(graph: Graph, cells: Iterable[Sequence[Key]]) -> Key | None:
    """A task that the blocks of two cells need, or None; in time proportional to the graph.

    Data in the graph and blocks persisted on a cluster cost nothing twice: they do not count.
    """
    owner: dict[Key, int] = {}
    for cell, keys in enumerate(cells):
        waiting, met = list(keys), set[Key]()
        while waiting:
            key = waiting.pop()
            if key in met:
                continue
            met.add(key)
            node = graph[key]
            mine = owner.setdefault(key, cell) == cell
            if not mine and _is_work(node):
                return key
            waiting.extend(node.dependencies)
    return None


def shares_work(
    graph: Graph,
    cells: Iterable[Sequence[Key]],
    parts: tuple[str, str],
    persisted: str,
    stored: str,
    stacklevel: int = 3,
) -> bool:
    """Whether two cells need the same upstream task, which is told in a warning.

    Parameters
    ----------
    graph : Graph
    cells : iterable of sequence of Key
        What each chunk needs.
    parts : tuple of str
        What cells are, of what, and what one is.
    persisted, stored : str
        What to do instead.
    stacklevel : int
        Of who made the source.
    """
    shared = _shared_task(graph, cells)
    if shared is not None:
        many, one = parts
        warnings.warn(
            f"{many} share upstream tasks, e.g. {shared!r}, which are computed again for every "
            f"{one} that needs them; {persisted} it if it fits into the cluster's memory, or store "
            f"it first, with {stored}",
            UserWarning,
            stacklevel=stacklevel,
        )
    return shared is not None


def run(graph: Graph, keys: Sequence[Key]) -> list[Any]:
    """Compute the keys here, in this thread, holding only what they need."""
    # callbacks are kept out: a progress bar shows passes, not the tasks inside a chunk
    return list(get_sync(upstream(graph, keys), list(keys), callbacks=()))


def _is_work(node: Any) -> bool:
    return not isinstance(node, Alias | DataNode) and not isinstance(
        getattr(node, "func", None), Fetched
    )
