"""The products of probabilistic PCA: the scatter times the loadings, for data too wide for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import FIXED, Array, Statistics
from dask_em.models.frame import Frame
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_sums import block_dtype, log_likelihood, tiles

__all__ = ["PPCAProducts"]


@dataclass(frozen=True)
class PPCAProducts(Statistics):
    """Sums over rows y in a frame, with W the loadings there: all that EM needs of the scatter."""

    first: Array  # (d,) sum of y
    squares: float  # sum of |y|^2
    product: Array  # (d, q) sum of y y'W
    at: PPCAParameters = field(metadata=FIXED)

    @classmethod
    def of_each(cls, block: Block, candidates: Sequence[PPCAParameters]) -> list[Self]:
        """The statistics of a block at each of some parameters that share a frame."""
        # infinities end in a log-likelihood that is not finite, which whoever asked looks at
        with np.errstate(over="ignore", invalid="ignore"):
            first, squares, products = _sums(block, candidates)
            return [
                cls._made(block.mass, first, squares, product, at)
                for product, at in zip(products, candidates, strict=True)
            ]

    @classmethod
    def _made(
        cls, mass: float, first: Array, squares: float, product: Array, at: PPCAParameters
    ) -> Self:
        found = log_likelihood(mass, first, squares, at.framed.loadings.T @ product, at)
        return cls(mass, found, first, squares, product, at)

    @property
    def frame(self) -> Frame:
        """The frame of the sums."""
        return self.at.place

    @cached_property
    def mean(self) -> Array:
        """(d,) mean of the rows in the frame."""
        return np.asarray(self.first / self.mass)

    @property
    def total(self) -> float:
        """Trace of the covariance of the rows in the frame."""
        return float(self.squares / self.mass - self.mean @ self.mean)

    @cached_property
    def image(self) -> Array:
        """(d, q) the covariance of the rows in the frame, times the loadings there."""
        along = self.mean @ self.at.framed.loadings
        return np.asarray(self.product / self.mass - np.outer(self.mean, along))


def _sums(block: Block, candidates: Sequence[PPCAParameters]) -> tuple[Array, float, list[Array]]:
    """Sum (d,) and squares of the rows of a block, and their product (d, q) for each candidate.

    The loadings stand side by side, so that rows are read from memory once for all.
    """
    wide = np.hstack([one.framed.loadings for one in candidates])
    dtypes = [block_dtype(block, one) for one in candidates]
    dtype = np.result_type(*dtypes)
    loadings = wide.astype(dtype)
    first, squares, product = np.zeros(block.n_features), 0.0, np.zeros(wide.shape)
    for rows, roots in tiles(block, candidates[0], dtype):
        first += roots @ rows
        squares += float(np.einsum("ij,ij->i", rows, rows).sum(dtype=np.float64))
        product += rows.T @ (rows @ loadings)
    edges = np.cumsum([0, *(one.q for one in candidates)])
    # copies: a part that keeps the whole alive would be sent with it
    return first, squares, [product[:, a:b].copy() for a, b in pairwise(edges)]
