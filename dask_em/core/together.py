"""Together: the product of models. They share each reading of the rows, and arithmetic if they can.

A member whose parameters are None is absent and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.random import Generator

from dask_em.core.block import Block
from dask_em.core.model import Model, SupportsKernels
from dask_em.core.records import Additive, Parameters, Statistics
from dask_em.errors import InputError, StatisticsError

__all__ = [
    "Parts",
    "SupportsTogether",
    "Together",
    "TogetherParameters",
    "TogetherStatistics",
    "expect_each",
]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


@runtime_checkable
class SupportsTogether(Protocol):
    """Models that evaluate several parameters on a block for less than one after the other."""

    def joins(self, other: Model[Any, Any]) -> bool:
        """Whether parameters of another model may be among the candidates."""

    def aligned(self, parameters: Any, like: Any) -> Any:
        """The same parameters, their sums taken where those of others are."""

    def expect_each(self, block: Block, candidates: Sequence[Any]) -> list[Any]:
        """The statistics of each candidate: those of `expect` up to rounding."""


def expect_each(model: Model[P, S], block: Block, candidates: Sequence[P]) -> list[S]:
    """The statistics that each of several parameters of one model induces on a block."""
    if isinstance(model, SupportsTogether):
        return model.expect_each(block, candidates)
    return [model.expect(block, parameters) for parameters in candidates]


@dataclass(frozen=True)
class Parts(Additive):
    """Statistics of the members; None for those that are absent."""

    each: tuple[Statistics | None, ...]

    def __iter__(self) -> Iterator[Statistics | None]:
        return iter(self.each)

    def __getitem__(self, member: int) -> Statistics | None:
        return self.each[member]

    def __mul__(self, factor: float) -> Self:
        return replace(self, each=tuple(part and part * factor for part in self.each))

    __rmul__ = __mul__

    def _combined(self, other: Self, sign: float) -> Self:
        there = [part is None for part in other.each]
        if [part is None for part in self.each] != there:
            raise StatisticsError(
                "statistics of different members were added; accumulate both with the same "
                "members absent"
            )
        pairs = zip(self.each, other.each, strict=True)
        return replace(self, each=tuple(a and b and a._combined(b, sign) for a, b in pairs))


@dataclass(frozen=True)
class TogetherParameters(Parameters):
    """Parameters of the members."""

    members: tuple[Parameters | None, ...]  # None: absent


@dataclass(frozen=True)
class TogetherStatistics(Statistics):
    """Statistics of the members; the log-likelihood is the sum of theirs."""

    members: Parts


@dataclass(frozen=True)
class Together(Model[TogetherParameters, TogetherStatistics]):
    """Several models of the same rows, each with parameters of its own.

    Parameters
    ----------
    models : tuple of Model
        The members.
    """

    models: tuple[Model[Any, Any], ...]

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("models=(); give at least one")

    @property
    def monotone(self) -> bool:
        return all(model.monotone for model in self.models)

    def initialize(self, sample: Block, rng: Generator) -> TogetherParameters:
        return TogetherParameters(tuple(model.initialize(sample, rng) for model in self.models))

    def expect(self, block: Block, parameters: TogetherParameters) -> TogetherStatistics:
        found: list[Statistics | None] = [None] * len(self.models)
        for model, members in self._groups(parameters):
            candidates = [parameters.members[member] for member in members]
            for member, one in zip(members, expect_each(model, block, candidates), strict=True):
                found[member] = one
        total = _total([one.log_likelihood for one in found if one is not None])
        return TogetherStatistics(block.mass, total, Parts(tuple(found)))

    def maximize(self, statistics: TogetherStatistics) -> TogetherParameters:
        pairs = zip(self.models, statistics.members, strict=True)
        return TogetherParameters(
            tuple(None if one is None else model.maximize(one) for model, one in pairs)
        )

    def log_prior(self, parameters: TogetherParameters) -> float:
        return sum(model.log_prior(one) for model, one in self._present(parameters))

    def kernel_name(self, parameters: TogetherParameters, dtype: np.dtype) -> str | None:
        """The kernels that the members use, each named once."""
        names = [
            model.kernel_name(one, dtype)
            for model, one in self._present(parameters)
            if isinstance(model, SupportsKernels)
        ]
        return ", ".join(sorted(set(names))) or None

    def _present(
        self, parameters: TogetherParameters
    ) -> Iterator[tuple[Model[Any, Any], Parameters]]:
        for model, one in zip(self.models, parameters.members, strict=True):
            if one is not None:
                yield model, one

    def _groups(self, parameters: TogetherParameters) -> list[tuple[Model[Any, Any], list[int]]]:
        """Members that are there, by what evaluates them: the model of the first of a group."""
        groups: list[tuple[Model[Any, Any], list[int]]] = []
        for member, (model, one) in enumerate(zip(self.models, parameters.members, strict=True)):
            if one is None:
                continue
            joined = [members for first, members in groups if _joins(first, model)]
            if joined:
                joined[0].append(member)
            else:
                groups.append((model, [member]))
        return groups


def _joins(first: Model[Any, Any], other: Model[Any, Any]) -> bool:
    return isinstance(first, SupportsTogether) and first.joins(other)


def _total(log_likelihoods: list[float]) -> float:
    """Their sum. A member that fails must not fail the others: its own is left out."""
    finite = [one for one in log_likelihoods if isfinite(one)]
    return float(sum(finite or log_likelihoods))
