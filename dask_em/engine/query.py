"""Query: what is asked of the posterior of each row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from dask_em.core.model import LatentPosterior, MixturePosterior
from dask_em.core.records import Array

__all__ = [
    "Covariance",
    "Deviation",
    "Filled",
    "Label",
    "LogDensity",
    "Probability",
    "Query",
    "Reconstruction",
    "Score",
]


@dataclass(frozen=True)
class Query(ABC):
    """What is asked of each row."""

    size: int  # how many numbers an axis of answers has beside those of the samples
    floats: np.dtype  # of answers that are no labels

    #: stands where a row was left out because it holds NaN or cannot be read
    absent: ClassVar[float] = np.nan
    #: the array of answers in a store, and its axes beside those of the samples
    name: ClassVar[str]
    axes: ClassVar[tuple[str, ...]] = ()
    #: for answers of one number for each feature, which a mapping of these is undone for, whether
    #: they are "values", "filled" values among those that are observed, or "deviations"
    of_features: ClassVar[str | None] = None
    #: what the array says of itself
    attributes: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def of(cls, parameters: Any, floats: np.dtype) -> Self:
        """The query to a model with parameters."""
        return cls(parameters.k, floats)

    @abstractmethod
    def ask(self, posterior: Any) -> Array:
        """The answer for each row, (n,) or (n, *trailing), from what the model says of it."""

    @property
    def dtype(self) -> np.dtype:
        """Of the answer."""
        return self.floats

    @property
    def trailing(self) -> tuple[int, ...]:
        """Axes of the answer to one row."""
        return ()

    def blank(self, shape: tuple[int, ...]) -> Array:
        """`absent` for samples of a shape."""
        return np.full((*shape, *self.trailing), self.absent, self.dtype)


@dataclass(frozen=True)
class Label(Query):
    """The most probable component; -1 for a row without an answer."""

    absent = -1
    name = "class"
    attributes: ClassVar = {"long_name": "most probable component, -1 for none"}

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.int64)

    def ask(self, posterior: MixturePosterior) -> Array:
        return _most_probable(posterior.responsibilities)


@dataclass(frozen=True)
class Probability(Query):
    """The posterior probability of each component."""

    name = "probability"
    axes = ("component",)
    attributes: ClassVar = {"long_name": "posterior probability of a component", "units": "1"}

    def ask(self, posterior: MixturePosterior) -> Array:
        return posterior.responsibilities

    @property
    def trailing(self) -> tuple[int, ...]:
        return (self.size,)


@dataclass(frozen=True)
class LogDensity(Query):
    """The log-density of the row, nats; of what is observed of it, where it has gaps."""

    name = "log_likelihood"
    attributes: ClassVar = {"long_name": "log-likelihood of a row", "units": "nat"}

    @classmethod
    def of(cls, parameters: Any, floats: np.dtype) -> Self:  # noqa: ARG003 - as all queries
        return cls(1, floats)

    def ask(self, posterior: MixturePosterior | LatentPosterior) -> Array:
        return posterior.log_density


@dataclass(frozen=True)
class Score(Query):
    """The posterior mean of the latent variables."""

    name = "score"
    axes: ClassVar[tuple[str, ...]] = ("component",)
    attributes: ClassVar = {"long_name": "posterior mean of the latent variables", "units": "1"}

    @classmethod
    def of(cls, parameters: Any, floats: np.dtype) -> Self:
        return cls(parameters.q, floats)

    def ask(self, posterior: LatentPosterior) -> Array:
        return posterior.scores

    @property
    def trailing(self) -> tuple[int, ...]:
        return (self.size,)


@dataclass(frozen=True)
class Covariance(Score):
    """The posterior covariance of the latent variables."""

    name = "covariance"
    axes = ("component", "other_component")
    attributes: ClassVar = {"long_name": "posterior covariance of the latent variables"}

    def ask(self, posterior: LatentPosterior) -> Array:
        return posterior.covariances

    @property
    def trailing(self) -> tuple[int, ...]:
        return (self.size, self.size)


@dataclass(frozen=True)
class Filled(Query):
    """The row, its gaps replaced by their posterior mean."""

    name = "filled"
    axes = ("feature",)
    of_features: ClassVar[str | None] = "filled"
    attributes: ClassVar = {"long_name": "observed values, and posterior means in their gaps"}

    @classmethod
    def of(cls, parameters: Any, floats: np.dtype) -> Self:
        return cls(parameters.d, floats)

    def ask(self, posterior: LatentPosterior) -> Array:
        return posterior.filled

    @property
    def trailing(self) -> tuple[int, ...]:
        return (self.size,)


@dataclass(frozen=True)
class Deviation(Filled):
    """The standard deviation of what is put into gaps; 0 for what is observed."""

    name = "deviation"
    of_features = "deviations"
    attributes: ClassVar = {"long_name": "standard deviation of what is put into gaps"}

    def ask(self, posterior: LatentPosterior) -> Array:
        return posterior.deviations


@dataclass(frozen=True)
class Reconstruction(Filled):
    """The posterior mean of the row without its noise: what the latent variables say of it."""

    name = "reconstruction"
    of_features = "values"
    attributes: ClassVar = {"long_name": "posterior mean of a row, without its noise"}

    def ask(self, posterior: LatentPosterior) -> Array:
        return posterior.reconstructions


def _most_probable(responsibilities: Array) -> Array:
    """The first largest of each row (n, k); np.argmax takes several times as long for few."""
    best, *others = responsibilities.T
    best = best.copy()
    label = np.zeros(len(best), np.min_scalar_type(len(others)))
    for j, other in enumerate(others, 1):
        np.maximum(label, np.multiply(other > best, j, dtype=label.dtype), out=label)
        np.maximum(best, other, out=best)
    return label
