"""EM extrapolated by Anderson, for models without a geometry; Henderson and Varadhan (2019)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from dask_em.core.algorithm import Algorithm, Candidate, Proposal
from dask_em.core.anderson import extrapolated
from dask_em.core.em import Iterate
from dask_em.core.model import Maximizes
from dask_em.core.records import Array, Parameters, Record, Statistics

__all__ = ["AndersonEM"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: passes that the extrapolation looks back on
MEMORY = 10
#: steps shorter than this, beside the number itself, are rounding
LEAST_MOVE = 1e-8


@dataclass(frozen=True)
class Steps(Record):
    """The last EM steps."""

    points: tuple[Any, ...] = ()
    images: tuple[Any, ...] = ()


@dataclass(frozen=True)
class AndersonEM(Algorithm[P, S]):
    """The EM step beside an extrapolation of the last ones; the better of the two goes on.

    All numbers of the parameters are taken for one vector. What is no parameter of the model (not
    finite, of negative variance) loses against the EM step, or raises and is left out.
    """

    model: Maximizes[P, S]
    is_usable: Callable[[P], bool] = lambda _: True

    def begin(self) -> Record:
        return Steps()

    def propose(self, iterate: Iterate[P, S], memory: Record) -> Proposal[P]:
        assert isinstance(memory, Steps)
        step = self.model.maximize(iterate.statistics)
        points = (*memory.points, iterate.parameters)[-MEMORY - 1 :]
        images = (*memory.images, step)[-MEMORY - 1 :]
        candidates = [Candidate("em", step, sure=True)]
        further = _extrapolated(points, images)
        if further is not None and self.is_usable(further):
            candidates.append(Candidate("extrapolated", further))
        # steps of two kinds make no geometric series of gains that would tell what is left
        return Proposal(tuple(candidates), Steps(points, images))


def _extrapolated(points: tuple[P, ...], images: tuple[P, ...]) -> P | None:
    every = [_vector(one) for one in (*points, *images)]
    if any(vector.shape != every[-1].shape for vector in every) or not every[-1].size:
        return None  # a component was dropped on the way, or there is no number
    before, after = np.stack(every[: len(points)]), np.stack(every[len(points) :])
    # numbers of different units are made comparable by how far steps move them
    scale = np.abs(after - before).max(axis=0) + LEAST_MOVE * np.abs(after).max(axis=0)
    scale[scale == 0] = 1
    found = extrapolated(list(before / scale), list(after / scale))
    if found is None or not np.isfinite(found).all():
        return None
    return _rebuilt(images[-1], found * scale)


def _vector(parameters: Record) -> Array:
    """(m,) all floating-point numbers of parameters."""
    found = [np.empty(0)]

    def each(values: Array) -> Array:
        found.append(values.ravel())
        return values

    _mapped(*parameters.flatten(), each)
    return np.concatenate(found)


def _rebuilt(like: P, vector: Array) -> P:
    """Parameters whose numbers are those of a vector (m,)."""
    left = iter(vector)

    def each(values: Array) -> Array:
        return np.fromiter(left, float, values.size).reshape(values.shape)

    return type(like).unflatten(*_mapped(*like.flatten(), each))  # type: ignore[return-value]


def _mapped(
    tree: Any, arrays: Mapping[str, Array], each: Callable[[Array], Array]
) -> tuple[Any, dict[str, Array]]:
    """A flattened record with another array for each of floats; a lone float is one too."""
    changed = dict(arrays)

    def walk(node: Any) -> Any:
        if isinstance(node, float):
            return float(each(np.array(node)))
        if isinstance(node, list):
            return [walk(one) for one in node]
        if not isinstance(node, Mapping):
            return node
        if "array" not in node:
            return {key: walk(one) for key, one in node.items()}
        name = node["array"]
        if arrays[name].dtype.kind == "f":
            changed[name] = each(arrays[name])
        return node

    return walk(tree), changed
