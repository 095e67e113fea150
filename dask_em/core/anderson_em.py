"""EM extrapolated by Anderson, for models without a geometry; Henderson and Varadhan (2019)."""

from __future__ import annotations

from collections.abc import Callable
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


@dataclass(frozen=True)
class Steps(Record):
    """The last EM steps."""

    points: tuple[Any, ...] = ()
    images: tuple[Any, ...] = ()


@dataclass(frozen=True)
class AndersonEM(Algorithm[P, S]):
    """The EM step beside an extrapolation of the last ones; the better of the two goes on.

    The arrays of the parameters are taken for one vector. What is no parameter of the model (not
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
    tree, like = images[-1].flatten()
    shapes = {name: array.shape for name, array in like.items() if array.dtype.kind == "f"}
    every = [one.flatten()[1] for one in (*points, *images)]
    if any({name: one[name].shape for name in shapes if name in one} != shapes for one in every):
        return None
    vectors = [np.concatenate([one[name].ravel() for name in shapes]) for one in every]
    half = len(points)
    found = extrapolated(vectors[:half], vectors[half:])
    if found is None or not np.isfinite(found).all():
        return None
    return _rebuilt(tree, like, shapes, found)  # type: ignore[return-value]


def _rebuilt(
    tree: dict[str, Any], like: dict[str, Array], shapes: dict[str, tuple[int, ...]], vector: Array
) -> Record:
    arrays, at = dict(like), 0
    for name, shape in shapes.items():
        size = int(np.prod(shape, dtype=int))
        arrays[name] = vector[at : at + size].reshape(shape)
        at += size
    return Record.unflatten(tree, arrays)
