"""Span: a subspace on which a large symmetric matrix is known, and Rayleigh-Ritz within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from dask_em.core.records import Array, Record

__all__ = ["Ritz", "Span"]

#: directions of which so little is outside of a span, relative to their length, are within it
OUTSIDE = 1e-6
#: residuals that are shorter than this, relative to the largest value, are rounding
ROUNDING = 1e-13


@dataclass(frozen=True)
class Span(Record):
    """Orthonormal directions Q, and their images under a symmetric matrix A."""

    basis: Array  # (d, m) Q
    images: Array  # (d, m) A Q

    @classmethod
    def empty(cls, d: int) -> Self:
        return cls(np.empty((d, 0)), np.empty((d, 0)))

    @property
    def m(self) -> int:
        return int(self.basis.shape[1])

    def widened(self, directions: Array, images: Array) -> Self:
        """The span of these and more directions (d, p), whose images (d, p) are known.

        What is within the span already is left out.
        """
        lengths = np.linalg.norm(directions, axis=0)
        used = lengths > 0
        outside, beyond = directions[:, used] / lengths[used], images[:, used] / lengths[used]
        for _ in range(2):  # once more, for what rounding left
            within = self.basis.T @ outside
            outside, beyond = outside - self.basis @ within, beyond - self.images @ within
        left, sizes, right = np.linalg.svd(outside, full_matrices=False)
        new = sizes > OUTSIDE
        basis, found = left[:, new], beyond @ (right[new].T / sizes[new])
        return type(self)(np.hstack([self.basis, basis]), np.hstack([self.images, found]))

    def ritz(self) -> Ritz:
        """The eigenpairs of A within the span."""
        within = self.basis.T @ self.images
        values, shares = np.linalg.eigh((within + within.T) / 2)
        return Ritz(self, values[::-1], np.ascontiguousarray(shares[:, ::-1]))


@dataclass(frozen=True)
class Ritz:
    """Eigenpairs of A within a span: vectors V with V' A V diagonal."""

    span: Span
    values: Array  # (m,) falling
    shares: Array  # (m, m) the vectors in the basis of the span

    def vectors(self, p: int) -> Array:
        """(d, p) the leading ones."""
        return np.asarray(self.span.basis @ self.shares[:, :p])

    def residuals(self, p: int) -> Array:
        """(d, p) ``A v - value v`` of the leading ones; they lie outside of the span."""
        return np.asarray(self.span.images @ self.shares[:, :p] - self.vectors(p) * self.values[:p])

    def outward(self, residuals: Array) -> Array:
        """(d, p') orthonormal directions that the span lacks, of residuals (d, p)."""
        left, sizes, _ = np.linalg.svd(residuals, full_matrices=False)
        new = sizes > ROUNDING * max(abs(float(self.values[0])), abs(float(self.values[-1])))
        basis, found = self.span.basis, left[:, new][:, : len(left) - self.span.m]
        found = found - basis @ (basis.T @ found)
        return np.asarray(np.linalg.qr(found)[0])

    def kept(self, p: int) -> Span:
        """The span of the leading ones alone."""
        images = np.asarray(self.span.images @ self.shares[:, :p])
        return Span(self.vectors(p), images)
