"""The Gram statistics of probabilistic PCA: one d x d scatter, from which all else follows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import FIXED, Array, Statistics
from dask_em.models.frame import Frame
from dask_em.models.matrices import add_scatter
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_sums import block_dtype, log_likelihood, tile_dtype, tiles

__all__ = ["PPCAStatistics"]


@dataclass(frozen=True)
class PPCAStatistics(Statistics):
    """First and second moments of rows y in a frame, and the parameters the E-step was taken at.

    The moments do not depend on the parameters, so that statistics at any others follow from
    `placed` without reading the rows again.
    """

    first: Array  # (d,) sum of y
    scatter: Array  # (d, d) sum of y y'
    at: PPCAParameters = field(metadata=FIXED)

    @classmethod
    def of(cls, block: Block, parameters: PPCAParameters) -> Self:
        """The statistics of a block, and its log-likelihood at parameters."""
        # infinities end in a log-likelihood that is not finite, which whoever asked looks at
        with np.errstate(over="ignore", invalid="ignore"):
            first, scatter = _moments(block, parameters)
            return cls._made(block.mass, first, scatter, parameters)

    def placed(self, parameters: PPCAParameters) -> Self:
        """The statistics that the same rows give at other parameters."""
        parameters = replace(parameters, frame=self.frame)
        return self._made(self.mass, self.first, self.scatter, parameters)

    @classmethod
    def _made(cls, mass: float, first: Array, scatter: Array, at: PPCAParameters) -> Self:
        W = at.framed.loadings
        found = log_likelihood(mass, first, float(np.trace(scatter)), W.T @ scatter @ W, at)
        return cls(mass, found, first, scatter, at)

    @property
    def frame(self) -> Frame:
        """The frame of the moments."""
        return self.at.place

    @cached_property
    def moments(self) -> tuple[Array, Array]:
        """Mean (d,) and covariance (d, d) of the rows in the frame, divided by their mass."""
        mean = self.first / self.mass
        return mean, self.scatter / self.mass - np.outer(mean, mean)

    @cached_property
    def spectrum(self) -> tuple[Array, Array]:
        """Eigenvalues (d,) of the covariance in the frame, falling, and eigenvectors (d, d)."""
        values, vectors = np.linalg.eigh(self.moments[1])
        return values[::-1], vectors[:, ::-1]

    def lost(self, dtype: np.dtype[Any], parameters: PPCAParameters) -> float:
        """Relative error, for one row, of a noise variance from the squares of rows of a dtype.

        Parameters
        ----------
        dtype : numpy.dtype
            Of the rows whose squares were summed.
        parameters : PPCAParameters
            What the rows are like.
        """
        placed = replace(parameters, frame=self.frame)
        return float(np.finfo(tile_dtype(dtype, self.at)).eps) * placed.condition


def _moments(block: Block, parameters: PPCAParameters) -> tuple[Array, Array]:
    """Sum (d,) and scatter (d, d) of the rows of a block in the frame of parameters."""
    d = block.n_features
    first, scatter = np.zeros(d), np.zeros((d, d))
    for rows, roots in tiles(block, parameters, block_dtype(block, parameters)):
        first += roots @ rows
        add_scatter(rows, scatter)
    return first, scatter
