"""Models and emissions as a user writes them: nothing here is known to the package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.special import gammaln

from dask_em.core.block import Block
from dask_em.core.model import Model
from dask_em.core.records import Array, Parameters, Record, Statistics
from dask_em.models.emission import ExponentialFamily


@dataclass(frozen=True)
class Means(Record):
    means: Array  # (k, d) expected values


@dataclass(frozen=True)
class Bernoulli(ExponentialFamily[Means]):
    """Independent coins, Bishop (2006) section 9.3.3."""

    def lift(self, rows: Array) -> Array:
        return np.vstack([np.ones(rows.shape[1]), rows])

    def natural(self, components: Means) -> Array:
        heads, tails = np.log(components.means), np.log1p(-components.means)
        return np.column_stack([tails.sum(axis=1), heads - tails])

    def from_sums(self, sums: Array) -> Means:
        counts = sums[:, :1] + 1e-9
        return Means(np.clip(sums[:, 1:] / counts, 1e-9, 1 - 1e-9))

    def select(self, components: Means, which: Array) -> Means:
        return Means(components.means[which])

    def move(self, components: Means, which: Array, rows: Array) -> Means:
        means = components.means.copy()
        means[which] = 0.1 + 0.8 * rows
        return Means(means)

    def sample(self, components: Means, component: int, n_rows: int, rng: Generator) -> Array:
        chance = components.means[component]
        return (rng.random((n_rows, len(chance))) < chance) * 1.0

    def n_free_parameters(self, components: Means) -> int:
        return components.means.size


@dataclass(frozen=True)
class Poisson(ExponentialFamily[Means]):
    """Independent counts. Their base measure, 1 / x!, is the same for all components."""

    def lift(self, rows: Array) -> Array:
        return np.vstack([np.ones(rows.shape[1]), rows])

    def base_measure(self, phi: Array) -> Array | None:
        return np.asarray(-gammaln(phi[1:] + 1).sum(axis=0))

    def natural(self, components: Means) -> Array:
        return np.column_stack([-components.means.sum(axis=1), np.log(components.means)])

    def from_sums(self, sums: Array) -> Means:
        return Means(np.maximum(sums[:, 1:] / (sums[:, :1] + 1e-9), 1e-9))

    def select(self, components: Means, which: Array) -> Means:
        return Means(components.means[which])

    def move(self, components: Means, which: Array, rows: Array) -> Means:
        means = components.means.copy()
        means[which] = rows + 0.5
        return Means(means)

    def sample(self, components: Means, component: int, n_rows: int, rng: Generator) -> Array:
        mean = components.means[component]
        return rng.poisson(mean, (n_rows, len(mean))) * 1.0

    def n_free_parameters(self, components: Means) -> int:
        return components.means.size


@dataclass(frozen=True)
class Rate(Parameters):
    rate: float  # per unit of the waiting time


@dataclass(frozen=True)
class Waits(Statistics):
    total: float  # summed waiting time


@dataclass(frozen=True)
class Exponential(Model[Rate, Waits]):
    """Waiting times, with a Gamma(shape, per) prior on their rate."""

    shape: float = 2.0
    per: float = 1.0

    def initialize(self, sample: Block, rng: Generator) -> Rate:
        return Rate(1.0)

    def expect(self, block: Block, parameters: Rate) -> Waits:
        waits = block.values[:, 0].astype(np.float64)
        total = float(waits.sum() if block.weights is None else block.weights @ waits)
        log_likelihood = block.mass * np.log(parameters.rate) - parameters.rate * total
        return Waits(block.mass, float(log_likelihood), total)

    def maximize(self, statistics: Waits) -> Rate:
        return Rate((statistics.mass + self.shape - 1) / (statistics.total + self.per))

    def log_prior(self, parameters: Rate) -> float:
        return float((self.shape - 1) * np.log(parameters.rate) - self.per * parameters.rate)
