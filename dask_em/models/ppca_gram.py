"""The Gram statistics of probabilistic PCA: one d x d scatter, from which all else follows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import FIXED, Array, Statistics
from dask_em.models.frame import Frame
from dask_em.models.matrices import add_scatter
from dask_em.models.ppca_parameters import PPCAParameters

__all__ = ["PPCAStatistics"]

LOG_2PI = math.log(2 * math.pi)
#: relative error of a noise variance, for one row, above which float32 rows are squared in float64
LOST_DIGITS = 1e-3


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
        found = _log_likelihood(mass, first, scatter, at)
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

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


def _moments(block: Block, parameters: PPCAParameters) -> tuple[Array, Array]:
    """Sum (d,) and scatter (d, d) of the rows of a block in the frame of parameters."""
    d = block.n_features
    dtype = _tile_dtype(block.values.dtype, parameters)
    shift, shrink = _exact(parameters.place.shift, dtype), dtype.type(1 / parameters.unit)
    tile_rows = max(256, min(8192, 2**18 // d))
    tile = np.empty((min(tile_rows, len(block)), d), dtype)
    first, scatter = np.zeros(d), np.zeros((d, d))
    for start in range(0, len(block), tile_rows):
        part = block.take(slice(start, start + tile_rows))
        rows = tile[: len(part)]
        np.subtract(part.values, shift, out=rows, casting="same_kind")
        rows *= shrink
        roots = np.ones(len(part), dtype)
        if part.weights is not None:
            roots = np.sqrt(part.weights).astype(dtype)
            rows *= roots[:, None]
        first += roots @ rows
        add_scatter(rows, scatter)
    upper = np.triu(scatter)
    return first, upper + np.triu(upper, 1).T


def _tile_dtype(dtype: np.dtype[Any], parameters: PPCAParameters) -> np.dtype[Any]:
    """Float32 rows are squared in float32 unless that costs the noise too many digits."""
    single = np.dtype(np.float32)
    enough = float(np.finfo(single).eps) * parameters.condition <= LOST_DIGITS
    return single if dtype == single and enough else np.dtype(np.float64)


def _exact(shift: Array, dtype: np.dtype[Any]) -> Array:
    """The shift in the dtype of the tile if that holds it, for then nothing is converted."""
    near = shift.astype(dtype)
    return near if bool((near == shift).all()) else shift


def _log_likelihood(mass: float, first: Array, scatter: Array, at: PPCAParameters) -> float:
    """Nats; ``tr(C^-1 A)`` with A the scatter about the mean, Bishop (2006) equation 12.43."""
    inside = at.framed
    mean, W = inside.mean, inside.loadings
    total = np.trace(scatter) - 2 * mean @ first + mass * mean @ mean
    sums, centre = W.T @ first, W.T @ mean
    projected = W.T @ scatter @ W + mass * np.outer(centre, centre)
    projected -= np.outer(sums, centre) + np.outer(centre, sums)
    explained = np.trace(inside.solve_inner(projected))
    distance = (total - explained) / inside.noise_variance
    volume = inside.log_determinant + inside.d * LOG_2PI - 2 * at.place.log_volume
    return float(-0.5 * (mass * volume + distance))
