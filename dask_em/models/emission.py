"""Emission: one family of densities, k of them at once, for `Mixture` to mix.

A density of an exponential family is linear in the lifted row ``phi(x)``: the joint log-density
of all components is ``theta @ phi`` and all sufficient statistics are ``r @ phi.T``. Two matrix
products around a softmax are then the whole E-step, see `LiftedKernel`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from dask_em.core.block import Block
from dask_em.core.model import Repair
from dask_em.core.records import Additive, Array, Record
from dask_em.errors import InputError

if TYPE_CHECKING:
    from dask_em.models.mixture_geometry import EmissionGeometry

__all__ = [
    "Emission",
    "ExponentialFamily",
    "Kernel",
    "LiftedKernel",
    "LiftedSums",
    "SupportsStacking",
    "log_weights",
]

C = TypeVar("C", bound=Record)
A = TypeVar("A", bound=Additive)


class Kernel(ABC, Generic[A]):
    """The arithmetic of one E-step over one block, tile by tile.

    A kernel owns its scratch memory and serves one thread. After `log_joint` of a tile, the
    methods that follow speak of that tile.
    """

    #: how many rows of a tile keep the scratch memory in the cache
    tile_rows: int
    #: named in the history of a fit
    name: str

    @abstractmethod
    def log_joint(self, values: Array) -> Array:
        """(k, b) log weight plus log-density, less `row_constant`, of the rows (b, d).

        The caller may overwrite the result.
        """

    def row_constant(self) -> Array | None:
        """(b,) nats, common to all components, that `log_joint` leaves out; None if none."""
        return None

    @abstractmethod
    def accumulate(self, responsibilities: Array, row_weights: Array | None) -> None:
        """Add the tile's rows, shared out by (k, b) responsibilities times row weights (b,)."""

    @abstractmethod
    def sums(self) -> tuple[Array, A, float]:
        """Counts (k,), sums, and the total of `row_constant` over all rows, in float64."""


@dataclass(frozen=True)
class Emission(Record, ABC, Generic[C, A]):
    """One density family. `C` holds k components of it; `A` the sums that determine them."""

    @abstractmethod
    def prepare(self, components: C, weights: Array, dtype: np.dtype, rows: int) -> Kernel[A]:
        """A kernel for k components with mixing weights (k,), for at most `rows` rows a tile."""

    @abstractmethod
    def summarize(self, block: Block, responsibilities: Array) -> tuple[Array, A]:
        """Counts (k,) and sums of a block's rows under given responsibilities (k, n)."""

    @abstractmethod
    def estimate(self, counts: Array, sums: A) -> tuple[C, tuple[Repair, ...]]:
        """Components that maximize the likelihood, and what had to be repaired in them.

        The counts (k,) are positive.
        """

    def forgiving(self) -> Emission[C, A]:
        """The same family, repairing what it would refuse."""
        return self

    @abstractmethod
    def select(self, components: C, which: Array) -> C:
        """The components with the given indices."""

    @abstractmethod
    def move(self, components: C, which: Array, rows: Array) -> C:
        """Components with those of the given indices moved to rows (len(which), d)."""

    @abstractmethod
    def sample(self, components: C, component: int, n_rows: int, rng: np.random.Generator) -> Array:
        """Rows (n_rows, d) drawn from one component."""

    @abstractmethod
    def n_free_parameters(self, components: C) -> int:
        """Free parameters of all k components."""

    def n_parameters(self, k: int, d: int) -> int | None:
        """Free parameters of k components of d features; None where that is not known."""
        return None

    def duplicates(self, components: C) -> list[int]:
        """Components that equal an earlier one."""
        return []

    def geometry(self) -> EmissionGeometry[C, A] | None:
        """What lets fits take few passes; None where the family does not offer it."""
        return None

    #: whether `estimate` can only raise the likelihood
    @property
    def monotone(self) -> bool:
        return True


@runtime_checkable
class SupportsStacking(Protocol):
    """Emissions that evaluate components of several mixtures as if they were of one."""

    def alike(self, components: Any, dtype: np.dtype) -> Hashable:
        """Equal for components that may be stacked, for rows of a dtype; None: they may not be."""

    def aligned(self, components: Any, like: Any) -> Any:
        """The same components, their sums taken where those of others are."""

    def stacked(self, parts: Sequence[Any]) -> Any:
        """The components of all parts, in order; all parts are alike."""

    def part(self, sums: Any, which: slice) -> Any:
        """The sums of some of the components."""


@dataclass(frozen=True)
class LiftedSums(Additive):
    """``r @ phi.T`` of an exponential family."""

    lifted: Array  # (k, F) sums of lifted rows by component


class LiftedKernel(Kernel[LiftedSums]):
    """Two matrix products around the caller's softmax."""

    name = "lifted"

    def __init__(self, family: ExponentialFamily[C], theta: Array, rows: int) -> None:
        self.family, self.theta = family, theta
        self.tile_rows = min(rows, 4096)
        self.phi = np.empty((theta.shape[1], 0))
        self.lifted = np.zeros_like(theta)
        self.base = 0.0  # nats, row_constant summed over rows

    def log_joint(self, values: Array) -> Array:
        self.phi = self.family.lift(np.ascontiguousarray(values.T, dtype=np.float64))
        return np.asarray(self.theta @ self.phi)

    def row_constant(self) -> Array | None:
        return self.family.base_measure(self.phi)

    def accumulate(self, responsibilities: Array, row_weights: Array | None) -> None:
        self.lifted += responsibilities @ self.phi.T
        base = self.row_constant()
        if base is not None:
            self.base += float(base.sum() if row_weights is None else row_weights @ base)

    def sums(self) -> tuple[Array, LiftedSums, float]:
        return self.lifted[:, 0].copy(), LiftedSums(self.lifted), self.base


@dataclass(frozen=True)
class ExponentialFamily(Emission[C, LiftedSums], ABC):
    """An emission that is told by three formulas: `lift`, `natural` and `from_sums`.

    The arrays of its components have k as their first axis. `move` leaves components as they are,
    and `sample` refuses, unless a family says how.
    """

    @abstractmethod
    def lift(self, rows: Array) -> Array:
        """Lifted rows phi (F, b) of feature-major rows (d, b); ``phi[0]`` must be 1."""

    @abstractmethod
    def natural(self, components: C) -> Array:
        """Natural parameters theta (k, F): the log-density is ``theta @ phi``."""

    @abstractmethod
    def from_sums(self, sums: Array) -> C:
        """Components from the sums (k, F) of lifted rows, ``sums[:, 0]`` being the counts."""

    def base_measure(self, phi: Array) -> Array | None:
        """(b,) log base measure of the tile in nats, or None where it is 0 or in theta."""
        return None

    def prepare(
        self, components: C, weights: Array, dtype: np.dtype, rows: int
    ) -> Kernel[LiftedSums]:
        theta = self.natural(components).astype(np.float64)
        theta[:, 0] += log_weights(weights)
        return LiftedKernel(self, theta, rows)

    def summarize(self, block: Block, responsibilities: Array) -> tuple[Array, LiftedSums]:
        phi = self.lift(np.ascontiguousarray(block.values.T, dtype=np.float64))
        lifted = responsibilities @ phi.T
        return lifted[:, 0].copy(), LiftedSums(lifted)

    def estimate(self, counts: Array, sums: LiftedSums) -> tuple[C, tuple[Repair, ...]]:
        return self.from_sums(sums.lifted), ()

    def select(self, components: C, which: Array) -> C:
        return replace(components, **{name: one[which] for name, one in _arrays(components)})

    def move(self, components: C, which: Array, rows: Array) -> C:
        return components

    def alike(self, components: C, dtype: np.dtype) -> Hashable:
        # a field that is no array by component might differ
        by_component = len(_arrays(components)) == len(fields(components))
        return type(components).__name__ if by_component else None

    def aligned(self, components: C, like: C) -> C:
        return components

    def stacked(self, parts: Sequence[C]) -> C:
        names = [name for name, _ in _arrays(parts[0])]
        joined = {name: np.concatenate([getattr(one, name) for one in parts]) for name in names}
        return replace(parts[0], **joined)

    def part(self, sums: LiftedSums, which: slice) -> LiftedSums:
        return LiftedSums(sums.lifted[which])

    def sample(self, components: C, component: int, n_rows: int, rng: np.random.Generator) -> Array:
        raise InputError(
            f"{type(self).__name__} does not say how rows are drawn; give it a method sample"
        )

    def n_free_parameters(self, components: C) -> int:
        return sum(one.size for _, one in _arrays(components))


def _arrays(components: Record) -> list[tuple[str, Array]]:
    every = [(one.name, getattr(components, one.name)) for one in fields(components)]
    return [(name, value) for name, value in every if isinstance(value, np.ndarray)]


def log_weights(weights: Array) -> Array:
    """Log of mixing weights (k,); -inf where a weight is 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(weights))
