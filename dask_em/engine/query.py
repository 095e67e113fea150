"""Query: what is asked of the posterior of each row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dask_em.core.records import Array

__all__ = ["Label", "LogDensity", "Probability", "Query"]


@dataclass(frozen=True)
class Query(ABC):
    """What is asked of each row."""

    k: int  # components of the model
    floats: np.dtype  # of answers that are no labels

    #: stands where a row was left out because it holds NaN or cannot be read
    absent: ClassVar[float]

    @abstractmethod
    def ask(self, responsibilities: Array, log_density: Array) -> Array:
        """The answer for each row, (n,) or (n, columns), from what `posterior` says of it."""

    @property
    def dtype(self) -> np.dtype:
        """Of the answer."""
        return self.floats

    @property
    def columns(self) -> int | None:
        """How many numbers a row gets; None for one, without an axis of its own."""
        return None

    def blank(self, shape: tuple[int, ...]) -> Array:
        """`absent` for samples of a shape."""
        trailing = () if self.columns is None else (self.columns,)
        return np.full((*shape, *trailing), self.absent, self.dtype)


@dataclass(frozen=True)
class Label(Query):
    """The most probable component; -1 for a row without an answer."""

    absent = -1

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.int64)

    def ask(self, responsibilities: Array, log_density: Array) -> Array:
        return np.asarray(responsibilities.argmax(axis=1))


@dataclass(frozen=True)
class Probability(Query):
    """The posterior probability of each component."""

    absent = np.nan

    def ask(self, responsibilities: Array, log_density: Array) -> Array:
        return responsibilities

    @property
    def columns(self) -> int | None:
        return self.k


@dataclass(frozen=True)
class LogDensity(Query):
    """The log-density of the row, nats."""

    absent = np.nan

    def ask(self, responsibilities: Array, log_density: Array) -> Array:
        return log_density
