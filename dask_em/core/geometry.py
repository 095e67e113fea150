"""Geometry: what a model adds so that fits take few passes, see `core.corrected`.

Coordinates are those of the Fisher information of the complete data at a reference: there the
EM step is a gradient step of length one (Xu and Jordan, 1996), so that no direction is stiff.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar, runtime_checkable

from dask_em.core.records import Array, Parameters, Statistics

__all__ = ["Chart", "Geometry", "SupportsGeometry"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


class Chart(ABC, Generic[P, S]):
    """Coordinates of parameters around a reference, which is at zero."""

    @abstractmethod
    def vector(self, parameters: P) -> Array:
        """(m,) coordinates of parameters.

        Raises
        ------
        DegenerateError
            If they have none.
        """

    @abstractmethod
    def parameters(self, vector: Array) -> P:
        """The parameters at coordinates (m,).

        Raises
        ------
        DegenerateError
            If there are none.
        """

    @abstractmethod
    def gradient(self, parameters: P, statistics: S) -> Array:
        """(m,) derivative of `Geometry.complete` of the statistics, at the parameters.

        Raises
        ------
        DegenerateError
            If it has none there.
        """


class Geometry(ABC, Generic[P, S]):
    """The objective of an M-step, and coordinates in which it can be climbed.

    With ``s(p)`` the statistics that p induces, the gradient of the log-likelihood at p is that
    of ``complete(., s(p))`` at p (Fisher's identity).
    """

    @abstractmethod
    def chart(self, reference: P) -> Chart[P, S]:
        """Coordinates around a reference. Raises DegenerateError where there are none."""

    @abstractmethod
    def complete(self, parameters: P, statistics: S) -> float:
        """Expected log-likelihood of the complete data, nats; linear in the statistics."""

    @abstractmethod
    def regularized(self, statistics: S) -> S:
        """Statistics whose `maximize` here is the model's own M-step of the given ones."""

    @abstractmethod
    def maximize(self, statistics: S) -> P:
        """The parameters that maximize `complete`, without repairs.

        Raises
        ------
        DegenerateError
            If the statistics are not those of any parameters.
        """

    @abstractmethod
    def moved(self, statistics: S, like: S) -> S:
        """The same sums, taken about the origin of others."""


@runtime_checkable
class SupportsGeometry(Protocol):
    """Models that offer a geometry."""

    def geometry(self) -> Geometry[Parameters, Statistics] | None:
        """None where the model's parts do not offer one."""
