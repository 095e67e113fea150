"""EM extrapolated by Anderson, for models without a geometry; Henderson and Varadhan (2019).

Near a saddle that extrapolates to the saddle; longer EM steps lead away from it (Salakhutdinov and
Roweis, 2003).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, TypeVar

import numpy as np

from dask_em.core.algorithm import Algorithm, Candidate, Proposal
from dask_em.core.anderson import extrapolated
from dask_em.core.em import Iterate
from dask_em.core.model import Maximizes
from dask_em.core.records import Array, Parameters, Record, Statistics
from dask_em.errors import InputError

__all__ = ["AndersonEM"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: passes that the extrapolation looks back on
MEMORY = 10
#: EM steps are also tried at so many times their length, and further where that was better
LEAST_STRETCH = 2.0
#: steps shorter than this, beside the number itself, are rounding
LEAST_MOVE = 1e-8


@dataclass(frozen=True)
class Steps(Record):
    """The last EM steps."""

    points: tuple[Any, ...] = ()
    images: tuple[Any, ...] = ()
    stretch: float = LEAST_STRETCH  # of the next stretched step
    tried: tuple[str, ...] = ()  # the candidates of the proposal


@dataclass(frozen=True)
class AndersonEM(Algorithm[P, S]):
    """The EM step, a longer one, and an extrapolation of the last ones; the best goes on.

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
        longer = _stretched(iterate.parameters, step, memory.stretch)
        if longer is not None and self.is_usable(longer):
            candidates.append(Candidate("stretched", longer))
        # steps of several kinds make no geometric series of gains that would tell what is left
        tried = tuple(one.step for one in candidates)
        return Proposal(tuple(candidates), Steps(points, images, memory.stretch, tried))

    def learned(
        self,
        memory: Record,
        before: Iterate[P, S],
        found: Sequence[Iterate[P, S]],
        gains: Sequence[float],
    ) -> Record:
        assert isinstance(memory, Steps)
        gained = dict(zip(memory.tried, gains, strict=True))
        longer = gained.get("stretched", -inf) > gained["em"]
        stretch = 2 * memory.stretch if longer else max(memory.stretch / 2, LEAST_STRETCH)
        return replace(memory, stretch=stretch)


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


def _stretched(point: P, image: P, stretch: float) -> P | None:
    before, after = _vector(point), _vector(image)
    if before.shape != after.shape or not after.size:
        return None
    found = before + stretch * (after - before)
    return _rebuilt(image, found) if np.isfinite(found).all() else None


def _vector(parameters: Record) -> Array:
    """(m,) all floating-point numbers of parameters."""
    found = [np.empty(0)]

    def each(values: Array) -> Array:
        found.append(values.ravel())
        return values

    _mapped(*parameters.flatten(), each)
    return np.concatenate(found)


def _rebuilt(like: P, vector: Array) -> P | None:
    """Parameters whose numbers are those of a vector (m,); None where there are none of them."""
    left = iter(vector)

    def each(values: Array) -> Array:
        return np.fromiter(left, float, values.size).reshape(values.shape)

    try:
        return type(like).unflatten(*_mapped(*like.flatten(), each))  # type: ignore[return-value]
    except InputError:  # a variance may have become negative
        return None


def _mapped(
    tree: Any, arrays: Mapping[str, Array], each: Callable[[Array], Array]
) -> tuple[Any, dict[str, Array]]:
    """A flattened record with another array for each of floats; a lone float is one too.

    What says where sums live is left as it is.
    """
    changed = dict(arrays)

    def walk(node: Any) -> Any:
        if isinstance(node, float):
            return float(each(np.array(node)))
        if isinstance(node, list):
            return [walk(one) for one in node]
        if not isinstance(node, Mapping):
            return node
        if "record" in node:
            fixed = Record.fixed_of(node["record"])
            inside = node["fields"].items()
            return {**node, "fields": {k: v if k in fixed else walk(v) for k, v in inside}}
        if "array" not in node:
            return node
        name = node["array"]
        if arrays[name].dtype.kind == "f":
            changed[name] = each(arrays[name])
        return node

    return walk(tree), changed
