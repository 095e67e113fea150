"""Secants: what slopes at other places tell of the curvature here.

A surrogate's curvature has an error. Wherever a pass was made the true slope is known, and with it
the error along the way there. Of all symmetric corrections that explain what is known the smallest
one is taken: Powell's symmetric Broyden update, after several steps at once.

References
----------
Powell (1970), A new algorithm for unconstrained optimization.
Schnabel (1983), Quasi-Newton methods using multiple secant equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dask_em.core.records import Array

__all__ = ["Secants"]

#: a move tells of a new direction if so much of it is at right angles to shorter ones
NEW = 0.3


@dataclass(frozen=True)
class Secants:
    """A symmetric matrix of low rank, known by what it makes of some directions.

    Parameters
    ----------
    directions : array (m, r)
        Orthonormal.
    products : array (m, r)
        The matrix times each of them.
    """

    directions: Array
    products: Array

    @classmethod
    def none(cls, size: int) -> Secants:
        """The zero matrix (m, m)."""
        return cls(np.empty((size, 0)), np.empty((size, 0)))

    @classmethod
    def through(cls, size: int, pairs: Sequence[tuple[Array, Array]]) -> Secants:
        """The least matrix (m, m) that makes of each move (m,) its difference of slopes (m,).

        The shortest moves come first, for what they tell is nearest to the truth here; a move that
        is hardly new beside shorter ones is left out.
        """
        found = cls.none(size)
        for move, difference in sorted(pairs, key=lambda pair: float(np.linalg.norm(pair[0]))):
            length = float(np.linalg.norm(move))
            if length > 0:
                found = found._with(move / length, difference / length)
        return found

    def _with(self, direction: Array, product: Array) -> Secants:
        along = self.directions.T @ direction
        rest = direction - self.directions @ along
        new = float(np.linalg.norm(rest))
        if new < NEW:
            return self
        return Secants(
            np.column_stack([self.directions, rest / new]),
            np.column_stack([self.products, (product - self.products @ along) / new]),
        )

    def times(self, vector: Array) -> Array:
        """(m,) the matrix times a vector (m,)."""
        along = self.directions.T @ vector
        inner = self.directions.T @ self.products
        twice = 0.5 * (inner + inner.T) @ along  # it is in both terms below
        across = self.products.T @ vector - twice
        return np.asarray(self.products @ along + self.directions @ across)

    def form(self, vector: Array) -> float:
        """Half the quadratic form of a vector (m,)."""
        return 0.5 * float(vector @ self.times(vector))
