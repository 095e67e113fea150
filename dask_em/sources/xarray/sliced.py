"""What dask reads and perhaps cuts, and does nothing else with: the array and the box of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, product
from typing import Any

from dask._task_spec import Alias, DataNode, Task, TaskRef
from dask.array.chunk import getitem
from dask.array.core import getter, getter_inline, getter_nofancy

from dask_em.engine.source import Region

__all__ = ["Cut", "cut_of"]

#: dask's functions that take a part of an array
GETTERS = (getter, getter_inline, getter_nofancy, getitem)


@dataclass(frozen=True)
class Cut:
    """A box of what dask reads from.

    Parameters
    ----------
    array : array-like
        It may be lazy itself.
    box : tuple of slice
        What the dask array has of it.
    """

    array: Any
    box: Region


def cut_of(array: Any) -> Cut | None:
    """The array that a dask array reads a box of; None if dask does more.

    All blocks are followed to where they come from: no layer is taken to be what it is called.
    """
    layers = getattr(array.dask, "layers", {})
    first = _source(layers)
    if first is None or array.ndim == 0 or 0 in array.shape:
        return None
    key, found = first
    graph: dict[Any, Any] = {}
    for name, layer in layers.items():
        if name != key:
            graph.update(layer)
    bounds = [(0, *accumulate(axis)) for axis in array.chunks]
    start: tuple[int, ...] | None = None
    for cell in product(*(range(len(axis)) for axis in array.chunks)):
        region = _region((array.name, *cell), graph, key, found.shape)
        if region is None or len(region) != array.ndim:
            return None
        mine = [slice(axis[i], axis[i + 1]) for axis, i in zip(bounds, cell, strict=True)]
        shift = tuple(theirs.start - part.start for theirs, part in zip(region, mine, strict=True))
        ends = (theirs.stop - part.stop for theirs, part in zip(region, mine, strict=True))
        start = shift if start is None else start
        if shift != start or tuple(ends) != start:
            return None
    assert start is not None
    box = (slice(begin, begin + length) for begin, length in zip(start, array.shape, strict=True))
    return Cut(found, tuple(box))


def _source(layers: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """The one array that layers read, and its key, if they may do nothing but read it."""
    others = [name for name, layer in layers.items() if not _takes_parts(layer)]
    if len(others) != 1 or len(layers) < 2:
        return None
    content = dict(layers[others[0]])
    if len(content) != 1:
        return None
    ((key, value),) = content.items()
    found = value.value if isinstance(value, DataNode) else value
    return (key, found) if hasattr(found, "shape") and hasattr(found, "dtype") else None


def _takes_parts(layer: Any) -> bool:
    """Whether a layer may be one that takes parts: told by its first task."""
    task = getattr(layer, "task", None)  # of all blocks, where it is the same for all
    if task is None:
        if not layer.is_materialized():
            return False
        task = next(iter(layer.values()), None)
    return isinstance(task, Alias) or getattr(task, "func", None) in GETTERS


def _region(key: Any, graph: Mapping[Any, Any], last: Any, shape: tuple[int, ...]) -> Region | None:
    """The part of the source that a block is, followed down to it."""
    if key == last:
        return tuple(slice(0, length) for length in shape)
    node = graph.get(key)
    if isinstance(node, Alias):
        return _region(node.target, graph, last, shape)
    if not isinstance(node, Task) or node.func not in GETTERS or len(node.args) < 2:
        return None
    source, parts = (arg.value if isinstance(arg, DataNode) else arg for arg in node.args[:2])
    inner = _region(source.key, graph, last, shape) if isinstance(source, TaskRef) else None
    return None if inner is None else _within(inner, parts)


def _within(whole: Region, parts: Any) -> Region | None:
    """A part of a region, counted from where the region begins."""
    if not isinstance(parts, tuple) or len(parts) != len(whole):
        return None
    if not all(isinstance(part, slice) for part in parts):
        return None
    spans = [part.indices(seen.stop - seen.start) for part, seen in zip(parts, whole, strict=True)]
    if any(step != 1 for _, _, step in spans):
        return None
    return tuple(
        slice(seen.start + start, seen.start + max(start, stop))
        for seen, (start, stop, _) in zip(whole, spans, strict=True)
    )
