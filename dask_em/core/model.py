"""Model: three verbs. What else a model may be able to do is a Supports* protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.random import Generator

from dask_em.core.block import Block
from dask_em.core.records import Array, Parameters, Record, Statistics

__all__ = [
    "LatentPosterior",
    "Maximizes",
    "MixturePosterior",
    "Model",
    "Repair",
    "SupportsClosedForm",
    "SupportsGaps",
    "SupportsKernels",
    "SupportsLatent",
    "SupportsParameterCount",
    "SupportsPosterior",
    "SupportsRepair",
    "SupportsSampling",
]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)
P_contra = TypeVar("P_contra", bound=Parameters, contravariant=True)
S_contra = TypeVar("S_contra", bound=Statistics, contravariant=True)


@dataclass(frozen=True)
class Model(Record, ABC, Generic[P, S]):
    """What to add up over rows, and what to conclude from the sums.

    A model is a frozen record of hyperparameters. It sees neither Dask nor files nor clocks.
    """

    @abstractmethod
    def initialize(self, sample: Block, rng: Generator) -> P:
        """A start, from a sample of rows held in memory."""

    @abstractmethod
    def expect(self, block: Block, parameters: P) -> S:
        """E-step: sums over the rows of one block. An empty block gives zero.

        The log-likelihood is not finite when a value of the block is not.
        """

    @abstractmethod
    def maximize(self, statistics: S) -> P:
        """M-step in closed form; the statistics alone decide."""

    def log_prior(self, parameters: P) -> float:
        """Nats that the prior adds to the log-likelihood; 0 without a prior."""
        return 0.0

    def n_parameters(self, n_features: int) -> int | None:
        """Free parameters that a fit to rows of n_features has; None where that is not known."""
        return None

    def statistics_bytes(self, n_features: int) -> int | None:
        """Bytes of statistics and parameters for rows of n_features; None where not known."""
        return None

    @property
    def monotone(self) -> bool:
        """Whether `maximize` can only raise the objective."""
        return True


class Maximizes(Protocol[P, S_contra]):
    """What the EM loop needs of a model."""

    def maximize(self, statistics: S_contra) -> P: ...

    def log_prior(self, parameters: P) -> float: ...


@dataclass(frozen=True)
class Repair(Record):
    """One intervention of a degeneracy policy."""

    kind: str  # "empty", "duplicate" or "singular"
    component: int | None  # index before the repair; None where all share what was repaired
    feature: int | None  # the feature most to blame, if one is
    action: str  # what was done, in words

    @property
    def words(self) -> str:
        """What befell which component, and what was done."""
        shared = self.component is None
        which = "covariance of all components" if shared else f"component {self.component}"
        return f"{self.kind} {which}: {self.action}"


class MixturePosterior(NamedTuple):
    """What a mixture says of some rows."""

    responsibilities: Array  # (n, k)
    log_density: Array  # (n,) nats


class LatentPosterior(Protocol):
    """What a model with latent variables says of some rows."""

    @property
    def scores(self) -> Array:
        """(n, q) posterior mean of the latent variables."""

    @property
    def covariances(self) -> Array:
        """(n, q, q) posterior covariance of the latent variables."""

    @property
    def log_density(self) -> Array:
        """(n,) nats, of what is observed."""

    @property
    def filled(self) -> Array:
        """(n, d) rows with their gaps replaced by the posterior mean."""

    @property
    def reconstructions(self) -> Array:
        """(n, d) posterior mean of the rows without their noise."""

    @property
    def deviations(self) -> Array:
        """(n, d) standard deviation of what is put into gaps; 0 for what is observed."""


@runtime_checkable
class SupportsLatent(Protocol[P_contra]):
    """Models that explain each row by latent variables."""

    def latent(self, block: Block, parameters: P_contra) -> LatentPosterior:
        """What is known of the latent variables of the rows of a block."""


@runtime_checkable
class SupportsPosterior(Protocol[P_contra]):
    """Models that say for each row where it belongs and how likely it is."""

    def posterior(self, block: Block, parameters: P_contra) -> tuple[Array, Array]:
        """Responsibilities (n, k) and log-densities (n,) in nats."""


@runtime_checkable
class SupportsClosedForm(Protocol[P, S]):
    """Models whose optimum follows from the sums of one pass, whatever parameters it had."""

    def closed_form(self, statistics: S) -> P:
        """The parameters of greatest objective."""

    def placed(self, statistics: S, parameters: P) -> S:
        """The statistics that the same rows give at other parameters."""

    def nearer(self, statistics: S, dtype: np.dtype) -> P | None:
        """Where to take the sums again; None unless they lack digits.

        Parameters
        ----------
        statistics : Statistics
        dtype : numpy.dtype
            Of the rows.
        """


@runtime_checkable
class SupportsGaps(Protocol):
    """Models of which there is one that does with what is observed of a row; NaN is a gap."""

    def with_gaps(self) -> Model[Any, Any]:
        """The model of the same parameters whose rows may have gaps."""


@runtime_checkable
class SupportsSampling(Protocol[P_contra]):
    """Models that can draw rows."""

    def sample(self, n_rows: int, parameters: P_contra, rng: Generator) -> tuple[Array, Array]:
        """Rows (n, d) and the components (n,) that they were drawn from."""


class SupportsParameterCount(Protocol[P_contra]):
    """Models whose free parameters can be counted, as information criteria need."""

    def n_free_parameters(self, parameters: P_contra) -> int: ...


@runtime_checkable
class SupportsKernels(Protocol):
    """Models whose E-step has several ways to the same sums."""

    def kernel_name(self, parameters: Any, dtype: np.dtype) -> str:
        """Which of them is used for rows of a dtype."""


@runtime_checkable
class SupportsRepair(Protocol):
    """Models whose M-step may repair degenerate parameters."""

    def repairs(self, parameters: Any) -> tuple[Repair, ...]:
        """What the M-step that gave these parameters had to repair."""

    def reseed(self, parameters: Any, sample: Block) -> Any:
        """Parameters whose useless components were moved to badly explained rows."""
