"""The two E-step kernels of Gaussians, and the rule that chooses between them.

*Lifted*: the log-density is linear in ``phi(x) = (1, x, x_i x_j for i <= j)``; two matrix products
do the whole E-step. *Centred*: rows are whitened component by component, and moments are taken
about the current means. The first is faster unless d is large beside k; the second loses no
digits when components are narrow and far apart.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from dask_em.core.records import Array
from dask_em.models.emission import Kernel, log_weights
from dask_em.models.gaussian import Gaussians, Moments
from dask_em.models.matrices import LOG_2PI

__all__ = ["CentredKernel", "LiftedGaussianKernel", "alike", "choose_kernel"]

#: relative error of a variance, for one row, above which rows are centred rather than lifted;
#: float32 may err more, for the rounding errors of many rows average out
LOST_DIGITS = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-9}


def choose_kernel(
    components: Gaussians, weights: Array, dtype: np.dtype, rows: int
) -> Kernel[Moments]:
    """The kernel for these components: by their condition, their size and the dtype alone.

    Float32 rows are worked on in float32 tiles unless that would cost too many digits.
    """
    tile, lifted = _choice(components, dtype)
    kernel = LiftedGaussianKernel if lifted else CentredKernel
    return kernel(components, weights, tile, rows)


def alike(components: Gaussians, dtype: np.dtype) -> Hashable:
    """Equal for components whose natural parameters may be stacked into one product.

    None if they are centred, or share a covariance: the log-densities of a tied mixture leave out
    a constant of the row that is not that of another mixture.
    """
    tile, lifted = _choice(components, dtype)
    if not lifted or components.structure.shared:
        return None
    frame = components.place
    return components.structure, tile, frame.shift.tobytes(), frame.scale.tobytes()


def _choice(components: Gaussians, dtype: np.dtype) -> tuple[np.dtype, bool]:
    """The dtype of the tiles, and whether they are lifted."""
    k, d = components.means.shape
    tile = np.dtype(np.float32 if dtype == np.float32 else np.float64)
    if _loses_digits(components, tile):
        tile = np.dtype(np.float64)
    return tile, not (_loses_digits(components, tile) or _wide(components, k, d, tile))


def _loses_digits(components: Gaussians, tile: np.dtype) -> bool:
    return float(np.finfo(tile).eps) * components.condition > LOST_DIGITS[tile]


def _wide(components: Gaussians, k: int, d: int, tile: np.dtype) -> bool:
    """Whether making and packing d^2/2 products a row costs more than it saves in k components.

    The crossover was measured for d from 16 to 192 and k from 2 to 64.
    """
    if components.structure.n_lifted(d) <= d:
        return False
    return d * d > (320 if tile == np.float64 else 600) * k


def _tile_rows(n_lifted: int, k: int, tile: np.dtype, rows: int) -> int:
    """Rows whose lifted features and joint log-densities stay in the cache: 512 to 8,192."""
    budget = 4_000_000 // tile.itemsize
    fitting = 1 << max(9, min(13, (budget // (n_lifted + k)).bit_length() - 1))
    return max(1, min(rows, fitting))


class LiftedGaussianKernel(Kernel[Moments]):
    """``theta @ phi`` and ``r @ phi.T``."""

    name = "lifted"

    def __init__(self, components: Gaussians, weights: Array, tile: np.dtype, rows: int) -> None:
        self.components, self.structure = components, components.structure
        self.frame = components.place
        k, d = components.means.shape
        n_lifted = 1 + d + self.structure.n_lifted(d)
        self.d, self.tile = d, tile
        self.tile_rows = _tile_rows(n_lifted, k, tile, rows)
        self.theta = np.ascontiguousarray(self._natural(weights), dtype=tile)
        self.shift = self.frame.shift[:, None].astype(tile)
        self.shrink = (1 / self.frame.scale)[:, None].astype(tile)
        self.unscaled = bool((self.frame.scale == 1).all())
        self.phi = np.ones((n_lifted, self.tile_rows), tile)
        large = n_lifted >= 512 and tile == np.float64
        self.by_row = np.empty((self.tile_rows if large else 0, k), tile)
        self.joint = np.empty((k, self.tile_rows), tile)
        self.product = np.empty((k, n_lifted), tile)
        self.lifted = np.zeros((k, n_lifted))
        self.scatter = np.zeros((d, d)) if self.structure.shared else None
        self.mass = 0.0
        self.rows = 0

    def _natural(self, weights: Array) -> Array:
        means, _ = self.components.framed
        factors, structure = self.components.framed_factors, self.structure
        k, d = means.shape
        whitened = structure.whiten(means, factors)
        constant = (
            log_weights(weights)
            + structure.half_log_det(factors, d)
            - 0.5 * (whitened**2).sum(axis=1)
            - 0.5 * d * LOG_2PI
            + self.frame.log_volume
        )
        linear = structure.unwhiten(whitened, factors)
        return np.hstack([constant[:, None], linear, structure.natural(factors, k, d)])

    def log_joint(self, values: Array) -> Array:
        self.rows = b = len(values)
        phi, d = self.phi[:, :b], self.d
        rows = phi[1 : 1 + d]
        np.subtract(values.T, self.shift, out=rows)
        if not self.unscaled:
            np.multiply(rows, self.shrink, out=rows)
        self.structure.lift(rows, phi[1 + d :])
        joint = self.joint[:, :b]
        if not len(self.by_row):
            return np.matmul(self.theta, phi, out=joint)
        # BLAS packs a large operand faster when the rows of the product are the tile's rows
        np.matmul(phi.T, self.theta.T, out=self.by_row[:b])
        np.copyto(joint, self.by_row[:b].T)
        return joint

    def row_constant(self) -> Array | None:
        if not self.structure.shared:
            return None
        rows = self.phi[1 : 1 + self.d, : self.rows]
        white = self.components.framed_factors.T @ rows
        return np.asarray(-0.5 * np.einsum("ij,ij->j", white, white))

    def accumulate(self, responsibilities: Array, row_weights: Array | None) -> None:
        phi = self.phi[:, : self.rows]
        self.lifted += np.matmul(responsibilities, phi.T, out=self.product)
        if self.scatter is not None:
            rows = phi[1 : 1 + self.d]
            weighted = rows if row_weights is None else rows * row_weights
            self.scatter += weighted @ rows.T

    def sums(self) -> tuple[Array, Moments, float]:
        d, structure = self.d, self.structure
        second, constant = self.lifted[:, 1 + d :], 0.0
        if self.scatter is not None:
            second = structure.packed(self.scatter)
            precision = structure.precisions(self.components.framed_factors)
            constant = -0.5 * float((precision * self.scatter).sum())
        origin = np.zeros((len(self.lifted), d))
        first = np.ascontiguousarray(self.lifted[:, 1 : 1 + d])
        moments = Moments(first, np.ascontiguousarray(second), origin, self.frame)
        return self.lifted[:, 0].copy(), moments, constant


class CentredKernel(Kernel[Moments]):
    """Whitened rows and moments about the current means, one component at a time."""

    name = "centred"

    def __init__(self, components: Gaussians, weights: Array, tile: np.dtype, rows: int) -> None:
        self.structure, self.frame = components.structure, components.place
        means, _ = components.framed
        k, d = means.shape
        self.tile_rows = max(1, min(rows, 512 if d > 32 else 2048))
        self.means = means.astype(tile)
        self.origin = self.means.astype(np.float64)
        self.factors = components.framed_factors.astype(tile)
        self.constant = (
            log_weights(weights)
            + self.structure.half_log_det(components.framed_factors, d)
            - 0.5 * d * LOG_2PI
            + self.frame.log_volume
        )
        self.framed = np.empty((self.tile_rows, d), tile)
        self.centred = np.empty((self.tile_rows, d), tile)
        self.joint = np.empty((k, self.tile_rows), tile)
        self.counts, self.first = np.zeros(k), np.zeros((k, d))
        self.second = np.zeros(self.structure.dense_shape(k, d))
        self.rows = 0

    def log_joint(self, values: Array) -> Array:
        self.rows = b = len(values)
        framed, centred = self.framed[:b], self.centred[:b]
        np.subtract(values, self.frame.shift, out=framed, casting="same_kind")
        framed /= self.frame.scale.astype(framed.dtype)
        joint = self.joint[:, :b]
        for j, mean in enumerate(self.means):
            np.subtract(framed, mean, out=centred)
            distance = self.structure.centred(centred, self.factors, j)
            np.multiply(distance, -0.5, out=joint[j])
            joint[j] += self.constant[j]
        return joint

    def accumulate(self, responsibilities: Array, row_weights: Array | None) -> None:
        framed, centred = self.framed[: self.rows], self.centred[: self.rows]
        self.counts += responsibilities.sum(axis=1, dtype=np.float64)
        roots = np.sqrt(responsibilities)
        for j, mean in enumerate(self.means):
            np.subtract(framed, mean, out=centred)
            np.multiply(centred, roots[j][:, None], out=centred)
            self.first[j] += roots[j] @ centred
            self.structure.scatter(centred, self.second, j)

    def sums(self) -> tuple[Array, Moments, float]:
        second = self.structure.packed(self.second)
        return self.counts, Moments(self.first, second, self.origin, self.frame), 0.0
