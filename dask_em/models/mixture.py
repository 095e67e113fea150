"""Mixture: k densities of one family, with weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator

from dask_em.core.block import Block
from dask_em.core.model import Model, Repair
from dask_em.core.records import TRANSIENT, Additive, Array, Parameters, Record, Statistics
from dask_em.errors import DataError, DegenerateError, InputError
from dask_em.models.emission import Emission, Kernel, SupportsStacking

if TYPE_CHECKING:
    from dask_em.models.mixture_geometry import MixtureGeometry

__all__ = ["POLICIES", "Mixture", "MixtureParameters", "MixtureStatistics", "padded"]

POLICIES = ("repair", "drop", "raise")


@dataclass(frozen=True)
class MixtureParameters(Parameters):
    """Weights and components."""

    weights: Array  # (k,) mixing weights, which sum to 1
    components: Record  # the emission's parameters
    repaired: tuple[Repair, ...] = field(default=(), metadata=TRANSIENT)

    @property
    def k(self) -> int:
        return len(self.weights)


@dataclass(frozen=True)
class MixtureStatistics(Statistics):
    """Sums over rows, by component."""

    occupancy: Array  # (k,) sum of responsibilities, whatever the weights of the rows
    counts: Array  # (k,) sum of weighted responsibilities
    sums: Additive  # the emission's sums


@dataclass(frozen=True)
class Mixture(Model[MixtureParameters, MixtureStatistics]):
    """``p(x) = sum_k weight_k p(x | component_k)``, Bishop (2006) section 9.3.

    Parameters
    ----------
    emission : Emission
        The family of the components.
    n_components : int
        How many there are at the start.
    start : Start
        How a start is made from a sample.
    degenerate : {"repair", "drop", "raise"}
        What happens to components that are empty, equal to another, or singular.
    """

    emission: Emission[Any, Any]
    n_components: int
    start: Any
    degenerate: str = "repair"

    def __post_init__(self) -> None:
        if self.n_components < 1:
            raise InputError(f"n_components={self.n_components}; it must be 1 or more")
        if self.degenerate not in POLICIES:
            raise InputError(f"degenerate={self.degenerate!r}; it must be one of {POLICIES}")

    @property
    def monotone(self) -> bool:
        """Whether `maximize` can only raise the log-likelihood."""
        return self.emission.monotone

    def initialize(self, sample: Block, rng: Generator) -> MixtureParameters:
        if len(sample) < self.n_components:
            raise DataError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {len(sample)}"
            )
        parameters = self.start.parameters(self, sample, rng)
        assert isinstance(parameters, MixtureParameters)
        return parameters

    def expect(self, block: Block, parameters: MixtureParameters) -> MixtureStatistics:
        kernel = self._kernel(block, parameters)
        (log_likelihood,), occupancy = _run(kernel, block, (slice(0, parameters.k),))
        counts, sums, constant = kernel.sums()
        if block.weights is None:
            occupancy = counts
        return MixtureStatistics(block.mass, log_likelihood + constant, occupancy, counts, sums)

    def expect_each(
        self, block: Block, candidates: Sequence[MixtureParameters]
    ) -> list[MixtureStatistics]:
        """The statistics of each candidate; those whose arithmetic agrees are made in one go."""
        found: dict[int, MixtureStatistics] = {}
        for group in self._groups(candidates, block.values.dtype):
            stack = [candidates[index] for index in group]
            found.update(zip(group, self._expect_stack(block, stack), strict=True))
        return [found[index] for index in range(len(candidates))]

    def _expect_stack(
        self, block: Block, stack: list[MixtureParameters]
    ) -> list[MixtureStatistics]:
        if len(stack) == 1:
            return [self.expect(block, stack[0])]
        emission: Any = self.emission
        weights = np.concatenate([one.weights for one in stack])
        components = emission.stacked([one.components for one in stack])
        kernel = self._kernel(block, MixtureParameters(weights, components))
        edges = np.cumsum([0, *(one.k for one in stack)]).tolist()
        which = [slice(start, stop) for start, stop in pairwise(edges)]
        log_likelihoods, occupancy = _run(kernel, block, which)
        counts, sums, constant = kernel.sums()
        if block.weights is None:
            occupancy = counts
        return [
            MixtureStatistics(
                block.mass, one + constant, occupancy[w], counts[w], emission.part(sums, w)
            )
            for one, w in zip(log_likelihoods, which, strict=True)
        ]

    def _groups(self, candidates: Sequence[MixtureParameters], dtype: np.dtype) -> list[list[int]]:
        """Candidates that may be stacked, the others by themselves."""
        groups: dict[Any, list[int]] = {}
        for index, one in enumerate(candidates):
            key = None
            if isinstance(self.emission, SupportsStacking) and len(candidates) > 1:
                key = self.emission.alike(one.components, dtype)
            groups.setdefault(index if key is None else key, []).append(index)
        return list(groups.values())

    def joins(self, other: Model[Any, Any]) -> bool:
        """Whether parameters of another model may be among the candidates of `expect_each`."""
        return isinstance(other, Mixture) and self.emission.equals(other.emission)

    def aligned(self, parameters: MixtureParameters, like: MixtureParameters) -> MixtureParameters:
        """The same parameters, their sums taken where those of others are."""
        if not isinstance(self.emission, SupportsStacking):
            return parameters
        components = self.emission.aligned(parameters.components, like.components)
        return replace(parameters, components=components)

    def maximize(self, statistics: MixtureStatistics) -> MixtureParameters:
        counts = padded(statistics.counts, statistics.occupancy)
        components, repairs = self.emission.estimate(counts, statistics.sums)
        # a row that is a component's own may be counted with a rounding error
        empty = [int(j) for j in np.flatnonzero(statistics.occupancy < 0.999)]
        twins = [j for j in self.emission.duplicates(components) if j not in empty]
        repairs += tuple(_useless("empty", j, self.degenerate) for j in empty)
        repairs += tuple(_useless("duplicate", j, self.degenerate) for j in twins)
        parameters = MixtureParameters(counts / counts.sum(), components, repairs)
        if self.degenerate == "raise" and repairs:
            raise DegenerateError(_complaint(repairs))
        return self._without_useless(parameters) if self.degenerate == "drop" else parameters

    def forgiving(self) -> Mixture:
        """The same mixture, repairing what it would refuse or drop."""
        return replace(self, degenerate="repair", emission=self.emission.forgiving())

    def posterior(self, block: Block, parameters: MixtureParameters) -> tuple[Array, Array]:
        """Responsibilities (n, k) and log-densities (n,) in nats."""
        kernel = self._kernel(block, parameters)
        n = len(block)
        # a component's in a row: they are compared, and come, component by component
        responsibilities, log_density = np.empty((parameters.k, n)), np.empty(n)
        at = 0
        for tile in _tiles(block, kernel.tile_rows):
            joint = kernel.log_joint(tile.values)
            rows = slice(at, at + len(tile))
            log_density[rows] = _normalize(joint)
            constant = kernel.row_constant()
            if constant is not None:
                log_density[rows] += constant
            responsibilities[:, rows] = joint
            at += len(tile)
        far = ~np.isfinite(log_density)  # so far from all components that the squares overflow
        log_density[far], responsibilities[:, far] = -np.inf, 1 / parameters.k
        return responsibilities.T, log_density

    def sample(
        self, n_rows: int, parameters: MixtureParameters, rng: Generator
    ) -> tuple[Array, Array]:
        """Rows (n_rows, d), sorted by component, and the components (n_rows,) of origin."""
        counts = rng.multinomial(n_rows, parameters.weights)
        rows = [
            self.emission.sample(parameters.components, j, int(count), rng)
            for j, count in enumerate(counts)
        ]
        return np.vstack(rows), np.repeat(np.arange(parameters.k), counts)

    def n_free_parameters(self, parameters: MixtureParameters) -> int:
        return parameters.k - 1 + self.emission.n_free_parameters(parameters.components)

    def n_parameters(self, n_features: int) -> int | None:
        free = self.emission.n_parameters(self.n_components, n_features)
        return None if free is None else self.n_components - 1 + free

    def kernel_name(self, parameters: MixtureParameters, dtype: np.dtype) -> str:
        """Which kernel an E-step at these parameters uses."""
        return self.emission.prepare(parameters.components, parameters.weights, dtype, 1).name

    def geometry(self) -> MixtureGeometry | None:
        """What lets fits take few passes, where the emission offers it."""
        from dask_em.models.mixture_geometry import MixtureGeometry

        emission = self.emission.geometry()
        return None if emission is None else MixtureGeometry(emission)

    def repairs(self, parameters: MixtureParameters) -> tuple[Repair, ...]:
        return parameters.repaired

    def reseed(self, parameters: MixtureParameters, sample: Block) -> MixtureParameters:
        """Move empty and duplicate components to the rows that the mixture explains worst."""
        if self.degenerate != "repair":
            return parameters
        useless = {r.component for r in parameters.repaired if r.kind != "singular"}
        which = sorted(component for component in useless if component is not None)
        if sample.weights is not None:
            sample = sample.take(sample.weights > 0)
        if not which or len(which) >= parameters.k or len(sample) < len(which):
            return parameters
        _, log_density = self.posterior(sample, parameters)
        worst = np.argsort(log_density, kind="stable")[: len(which)]
        components = self.emission.move(
            parameters.components, np.array(which), sample.values[worst].astype(np.float64)
        )
        weights = parameters.weights.copy()
        weights[which] = 1 / parameters.k
        return replace(
            parameters,
            weights=weights / weights.sum(),
            components=components,
            repaired=tuple(_moved(repair, which) for repair in parameters.repaired),
        )

    def _kernel(self, block: Block, parameters: MixtureParameters) -> Kernel[Any]:
        return self.emission.prepare(
            parameters.components, parameters.weights, block.values.dtype, max(len(block), 1)
        )

    def _without_useless(self, parameters: MixtureParameters) -> MixtureParameters:
        useless = {repair.component for repair in parameters.repaired}
        kept = np.array([j for j in range(parameters.k) if j not in useless])
        if len(kept) == parameters.k:
            return parameters
        if not len(kept):
            raise DegenerateError(
                f"all {parameters.k} components are degenerate, so none can be dropped; "
                'use fewer components or degenerate="repair"'
            )
        weights = parameters.weights[kept]
        return replace(
            parameters,
            weights=weights / weights.sum(),
            components=self.emission.select(parameters.components, kept),
        )


def _run(kernel: Kernel[Any], block: Block, mixtures: Sequence[slice]) -> tuple[list[float], Array]:
    """Feed a block to a kernel whose components are those of one or more mixtures.

    Returns the log-likelihood of each mixture less the kernel's constant, and the occupancy of all
    components if rows have weights.
    """
    log_likelihoods = [0.0] * len(mixtures)
    occupancy = np.zeros(mixtures[-1].stop)
    for tile in _tiles(block, kernel.tile_rows):
        joint = kernel.log_joint(tile.values)
        for index, which in enumerate(mixtures):
            log_density = _normalize(joint[which])
            if tile.weights is None:
                log_likelihoods[index] += float(log_density.sum(dtype=np.float64))
            else:
                log_likelihoods[index] += float(tile.weights @ log_density)
        if tile.weights is not None:
            occupancy += joint @ (tile.weights > 0)
            joint *= tile.weights.astype(joint.dtype, copy=False)
        kernel.accumulate(joint, tile.weights)
    return log_likelihoods, occupancy


def _tiles(block: Block, rows: int) -> Iterator[Block]:
    for start in range(0, len(block), rows):
        yield block.take(slice(start, start + rows))


def _normalize(joint: Array) -> Array:
    """Turn joint log-densities (k, b) into responsibilities in place; return log-densities (b,)."""
    top = np.maximum.reduce(joint, axis=0)
    np.subtract(joint, top, out=joint)
    np.exp(joint, out=joint)
    total = np.add.reduce(joint, axis=0)
    np.multiply(joint, 1 / total, out=joint)
    np.log(total, out=total)
    total += top
    return np.asarray(total)


def padded(counts: Array, occupancy: Array) -> Array:
    """Counts (k,) that can be divided by: scikit-learn's 10 eps rows on top."""
    row = counts.sum() / max(occupancy.sum(), 1.0)
    return np.asarray(counts + 10 * np.finfo(float).eps * row)


def _useless(kind: str, component: int, policy: str) -> Repair:
    actions = {"repair": "left as it is", "drop": "dropped", "raise": "refused"}
    return Repair(kind, component, None, actions[policy])


def _moved(repair: Repair, which: list[int]) -> Repair:
    if repair.component not in which or repair.kind == "singular":
        return repair
    return replace(repair, action="moved to badly explained rows")


def _complaint(repairs: tuple[Repair, ...]) -> str:
    found = ", ".join(
        f"{'the covariance' if r.component is None else f'component {r.component}'} is {r.kind}"
        for r in repairs
    )
    return (
        f'{found}; use fewer components, another start, or degenerate="repair" or "drop" '
        'instead of degenerate="raise"'
    )
