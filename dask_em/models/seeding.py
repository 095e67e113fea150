"""Starts of a mixture, made on a sample in memory.

Centres are sought in whitened coordinates: on the raw ones, features of large variance drown the
others and k-means cuts elongated clusters across. Whitening, in turn, drowns few directions that
tell clusters apart in many that are noise; so k-means also looks at coordinates that are scaled
only, and at raw ones, and the likelihood after a few EM steps decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.random import Generator

from dask_em.core.block import Block
from dask_em.core.em import fit
from dask_em.core.records import Array, Record
from dask_em.core.stopping import Stopping
from dask_em.errors import DataError
from dask_em.models.frame import mean_and_spread
from dask_em.models.mixture import MixtureParameters, padded

if TYPE_CHECKING:
    from dask_em.models.mixture import Mixture

__all__ = ["STARTS", "Given", "KMeans", "KMeansPlusPlus", "RandomRows", "RandomShares", "Start"]

#: rows on which centres are sought; more would cost seconds and change little
MOST_ROWS = 1 << 16
#: rows and EM steps by which divisions are compared
TRIED_ROWS, TRIED_STEPS = 1 << 14, 8


@dataclass(frozen=True)
class Start(Record, ABC):
    """A way to divide a sample between k components."""

    name: ClassVar[str]

    @abstractmethod
    def divisions(self, sample: Block, k: int, rng: Generator) -> list[Array]:
        """One or more candidates: responsibilities (k, n) that sum to 1 over the components."""

    def parameters(self, mixture: Mixture, sample: Block, rng: Generator) -> MixtureParameters:
        """Parameters that maximize the likelihood under a division; those of the likeliest one."""
        sample = _usable(sample, mixture.n_components, rng)
        divisions = self.divisions(sample, mixture.n_components, rng)
        if len(divisions) > 1:
            divisions = [_likeliest(mixture.forgiving(), sample, divisions, rng)]
        return _estimate(mixture, sample, divisions[0])


@dataclass(frozen=True)
class KMeans(Start):
    """Clusters of scikit-learn's k-means."""

    name = "kmeans"

    def divisions(self, sample: Block, k: int, rng: Generator) -> list[Array]:
        from sklearn.cluster import KMeans as Clusters
        from threadpoolctl import threadpool_limits

        found = []
        # with several threads k-means adds up in order of arrival, and its last bits vary
        with threadpool_limits(1):
            for rows in _coordinates(sample, k):
                clusters = Clusters(k, n_init=1, random_state=_seed(rng))
                clusters.fit(rows, sample_weight=sample.weights)
                found.append(_one_hot(clusters.labels_, k))
        return found


@dataclass(frozen=True)
class _Centres(Start, ABC):
    """Every row goes to the nearest of k chosen rows."""

    def divisions(self, sample: Block, k: int, rng: Generator) -> list[Array]:
        rows = whitened(sample)
        centres = rows[self.choose(rows, sample.weights, k, rng)]
        distance = (centres**2).sum(axis=1) - 2 * rows @ centres.T
        return [_one_hot(np.argmin(distance, axis=1), k)]

    @abstractmethod
    def choose(self, rows: Array, weights: Array | None, k: int, rng: Generator) -> Array:
        """(k,) indices of distinct rows."""


@dataclass(frozen=True)
class KMeansPlusPlus(_Centres):
    """Centres far apart, as scikit-learn's k-means++ draws them."""

    name = "k-means++"

    def choose(self, rows: Array, weights: Array | None, k: int, rng: Generator) -> Array:
        from sklearn.cluster import kmeans_plusplus

        _, chosen = kmeans_plusplus(rows, k, sample_weight=weights, random_state=_seed(rng))
        return np.asarray(chosen)


@dataclass(frozen=True)
class RandomRows(_Centres):
    """Centres drawn from the rows."""

    name = "random_from_data"

    def choose(self, rows: Array, weights: Array | None, k: int, rng: Generator) -> Array:
        share = None if weights is None else weights / weights.sum()
        return rng.choice(len(rows), size=k, replace=False, p=share)


@dataclass(frozen=True)
class RandomShares(Start):
    """Responsibilities drawn uniformly."""

    name = "random"

    def divisions(self, sample: Block, k: int, rng: Generator) -> list[Array]:
        shares = rng.uniform(size=(k, len(sample)))
        return [shares / shares.sum(axis=0)]


@dataclass(frozen=True)
class Given(Start):
    """Arrays that are given in part; what is missing comes from another start."""

    name = "given"
    otherwise: Start = field(default_factory=KMeans)
    weights: Array | None = None  # (k,)
    means: Array | None = None  # (k, d)
    precisions: Array | None = None  # in the shape of the structure's covariances

    def divisions(self, sample: Block, k: int, rng: Generator) -> list[Array]:
        return self.otherwise.divisions(sample, k, rng)

    def parameters(self, mixture: Mixture, sample: Block, rng: Generator) -> MixtureParameters:
        found = self.otherwise.parameters(mixture, sample, rng)
        components: Any = found.components
        if self.means is not None:
            components = replace(components, means=np.asarray(self.means, dtype=np.float64))
        if self.precisions is not None:
            structure = components.structure
            factors = structure.factor_of_precisions(np.asarray(self.precisions, np.float64))
            components = replace(components, covariances=structure.covariances(factors))
        weights = found.weights if self.weights is None else np.asarray(self.weights, np.float64)
        return MixtureParameters(weights / weights.sum(), components)


#: the starts by the names that scikit-learn gives them
STARTS: dict[str, Start] = {
    start.name: start for start in (KMeans(), KMeansPlusPlus(), RandomRows(), RandomShares())
}


def _likeliest(mixture: Mixture, sample: Block, divisions: list[Array], rng: Generator) -> Array:
    """The division from which a few EM steps on some of the rows lead furthest."""
    few = _thinned(sample, TRIED_ROWS, rng)
    starts = [_estimate(mixture, sample, shares) for shares in divisions]
    tries = [fit(mixture, few, start, Stopping(0, TRIED_STEPS)) for start in starts]
    best = max(range(len(tries)), key=lambda index: tries[index].last.objective)
    return divisions[best]


def _estimate(mixture: Mixture, sample: Block, shares: Array) -> MixtureParameters:
    """Parameters that maximize the likelihood under given shares (k, n)."""
    occupancy = shares.sum(axis=1)
    if sample.weights is not None:
        shares = shares * sample.weights
    counts, sums = mixture.emission.summarize(sample, shares)
    counts = padded(counts, occupancy)
    components, repairs = mixture.emission.estimate(counts, sums)
    return MixtureParameters(counts / counts.sum(), components, repairs)


def standardized(sample: Block) -> Array:
    """Rows (n, d) of zero mean, each feature of unit variance; constant features are zero."""
    rows = sample.values.astype(np.float64)
    mean, spread = mean_and_spread(rows, sample.weights)
    rows -= mean
    rows /= np.where(spread > 0, spread, 1.0)
    return np.asarray(rows)


def whitened(sample: Block) -> Array:
    """Rows (n, d) of unit covariance; directions without variance are left out."""
    rows = standardized(sample)
    weighted = rows if sample.weights is None else rows * sample.weights[:, None]
    values, vectors = np.linalg.eigh(weighted.T @ rows / sample.mass)
    kept = values > 1e-10 * max(values[-1], np.finfo(float).tiny)
    if not kept.any():  # all rows are the same
        return np.zeros((len(rows), 1))
    return np.asarray(rows @ (vectors[:, kept] / np.sqrt(values[kept])))


def _usable(sample: Block, k: int, rng: Generator) -> Block:
    """At most `MOST_ROWS` rows of positive weight."""
    if sample.weights is not None and not sample.weights.all():
        sample = sample.take(sample.weights > 0)
    if len(sample) < k:
        raise DataError(
            f"Expected n_samples >= n_components but got n_components = {k}, "
            f"n_samples = {len(sample)}"
        )
    return _thinned(sample, max(MOST_ROWS, k), rng)


def _thinned(sample: Block, most: int, rng: Generator) -> Block:
    if len(sample) <= most:
        return sample
    return sample.take(np.sort(rng.choice(len(sample), most, replace=False)))


def _coordinates(sample: Block, k: int) -> Iterator[Array]:
    """Ways to see the rows, made one by one; one is enough where nothing can come of others."""
    yield whitened(sample)
    if k > 1 and sample.n_features > 1:
        yield standardized(sample)
        raw = sample.values.astype(np.float64)
        yield raw - np.average(raw, 0, sample.weights)


def _one_hot(labels: Array, k: int) -> Array:
    shares = np.zeros((k, len(labels)))
    shares[labels, np.arange(len(labels))] = 1.0
    return shares


def _seed(rng: Generator) -> int:
    return int(rng.integers(2**31 - 1))
