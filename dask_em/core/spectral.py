"""Spectral: what a model adds whose optimum is made of leading eigenvectors, see `core.krylov`.

The matrix A is symmetric and too large to be stored: a pass multiplies it with a few directions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from numpy.random import Generator

from dask_em.core.block import Block
from dask_em.core.records import Array, Parameters, Statistics

__all__ = ["P", "S", "Spectral", "SupportsSpectral"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


class Spectral(ABC, Generic[P, S]):
    """A likelihood whose optimum follows from the q leading eigenvectors of a matrix A (d, d)."""

    @property
    @abstractmethod
    def n_leading(self) -> int:
        """How many eigenvectors make the optimum: q."""

    @abstractmethod
    def products(self, statistics: S) -> tuple[Array, Array]:
        """Directions V (d, m) that a pass multiplied, and their images A V (d, m)."""

    @abstractmethod
    def probe(self, directions: Array, statistics: S) -> P:
        """Parameters whose statistics hold the images of orthonormal directions (d, m).

        Parameters
        ----------
        directions : array (d, m)
        statistics : Statistics
            Of the same rows at any parameters.
        """

    @abstractmethod
    def optimum(self, values: Array, vectors: Array, statistics: S) -> P:
        """The best parameters of those that orthonormal vectors span.

        Parameters
        ----------
        values : array (m,)
            ``diag(V' A V)``, falling; V' A V is diagonal.
        vectors : array (d, m)
            V.
        statistics : Statistics
            Of the same rows at any parameters.
        """

    @abstractmethod
    def objective(self, values: Array, statistics: S) -> float:
        """Nats per unit of mass of the optimum at values (m,), but for a constant."""

    @abstractmethod
    def gain(self, values: Array, residuals: Array, statistics: S) -> float:
        """What the optimum would gain, to first order, if values were corrected by residuals.

        Parameters
        ----------
        values : array (m,)
        residuals : array (m,)
            ``|A v - value v|``: a step along ``A v`` raises the value by about the square of
            this, divided by how far the value is above those of what is left out.
        statistics : Statistics

        Returns
        -------
        float
            Nats per unit of mass.
        """

    @abstractmethod
    def beginnings(self, start: P, sample: Block, rng: Generator) -> list[P]:
        """A start, and probes that the pass there multiplies too: what leads in the sample.

        The start may be turned into another form of the same density.

        Parameters
        ----------
        start : Parameters
        sample : Block
            Rows in memory.
        rng : numpy.random.Generator
        """


@runtime_checkable
class SupportsSpectral(Protocol):
    """Models that offer a spectral form of their optimum."""

    def spectral(self) -> Spectral[Any, Any]: ...
