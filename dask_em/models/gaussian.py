"""The Gaussian emission: k normal densities under one covariance structure.

Rows are mapped by an affine `Frame` before anything is squared, and moments carry the frame and
the origin in which they were summed, see Chan, Golub and LeVeque (1983) for why.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from dask_em.core.block import Block
from dask_em.core.model import Repair
from dask_em.core.records import FIXED, Additive, Array, Record
from dask_em.errors import DegenerateError
from dask_em.models.covariance import Full
from dask_em.models.emission import Emission, Kernel
from dask_em.models.frame import Frame
from dask_em.models.structure import Structure

if TYPE_CHECKING:
    from dask_em.models.gaussian_geometry import GaussianGeometry

__all__ = ["ILL_DEFINED", "Gaussian", "Gaussians", "Moments"]

#: scikit-learn's words, which its users search for
ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the "
    "number of components, increase reg_covar, or scale the input data."
)


@dataclass(frozen=True)
class Gaussians(Record):
    """Means and covariances of k components, in the units of the data."""

    means: Array  # (k, d) component means
    covariances: Array  # full (k, d, d), tied (d, d), diagonal (k, d), spherical (k,)
    structure: Structure = field(default_factory=Full)
    frame: Frame | None = None  # where sums are taken; None: from the components themselves

    @classmethod
    def of_factors(cls, means: Array, factors: Array, structure: Structure) -> Self:
        """Components whose precisions have given factors U, as scikit-learn keeps them."""
        made = cls(means, structure.covariances(factors), structure)
        made.__dict__["factors"] = factors  # the cached property: not to be computed back
        return made

    @cached_property
    def factors(self) -> Array:
        """Factors U of the precisions, in the units of the data.

        Raises
        ------
        DegenerateError
            If a covariance is not positive definite.
        """
        try:
            return self.structure.factor(self.covariances)
        except np.linalg.LinAlgError as error:
            raise DegenerateError(ILL_DEFINED) from error

    @cached_property
    def place(self) -> Frame:
        """The frame in which sums over rows are taken."""
        if self.frame is not None:
            return self.frame
        k, d = self.means.shape
        within = [np.diag(self.structure.dense(self.covariances, j, d)) for j in range(k)]
        spread = np.sqrt(np.mean(within, axis=0) + self.means.var(axis=0))
        return Frame.around(self.means.mean(axis=0), spread, self.structure.isotropic)

    @cached_property
    def framed(self) -> tuple[Array, Array]:
        """Means (k, d) and covariances in the frame."""
        return self.place.inward(self.means), self.structure.scaled(
            self.covariances, 1 / self.place.scale
        )

    @cached_property
    def framed_factors(self) -> Array:
        """Factors U of the precisions in the frame."""
        return self.structure.rescaled(self.factors, self.place.scale)

    @cached_property
    def condition(self) -> float:
        """Largest ``(|mean|^2 + variance) / smallest eigenvalue`` of a component, in the frame.

        Times eps, it is the relative error of a variance that is computed from squares. Infinite
        where an eigenvalue is so near 0, or below it by rounding, that the quotient is no number.
        """
        means, covariances = self.framed
        k = len(means)
        tiny = np.finfo(float).tiny
        smallest = np.maximum(self.structure.smallest(covariances, k), tiny)
        squares = (means**2).sum(axis=1) + self.structure.largest(covariances, k)
        with np.errstate(over="ignore"):
            return float(np.max(squares / smallest))

    @classmethod
    def stacked(cls, parts: Sequence[Self]) -> Self:
        """The components of several mixtures of one frame, in order.

        What was computed of the parts is taken over: it is as much work as a small block.
        """
        means, covariances, factors = (
            np.concatenate([getattr(one, name) for one in parts])
            for name in ("means", "covariances", "factors")
        )
        made = cls(means, covariances, parts[0].structure, parts[0].place)
        made.__dict__["factors"] = factors
        made.__dict__["condition"] = max(one.condition for one in parts)
        return made


@dataclass(frozen=True)
class Moments(Additive):
    """First and second moments by component, about an origin in a frame."""

    first: Array  # (k, d) sum of r (y - origin), y the framed row
    second: Array  # structure's second_shape: sum of r (y - origin)(y - origin)'
    origin: Array = field(metadata=FIXED)  # (k, d) in the frame; zero in the lifted kernel
    frame: Frame = field(metadata=FIXED)


@dataclass(frozen=True)
class Gaussian(Emission[Gaussians, Moments]):
    """Normal densities.

    Parameters
    ----------
    structure : Structure
        How the covariances are restricted.
    reg_covar : float
        Added to every variance, squared units of the data.
    floor : float
        Smallest eigenvalue that a covariance may have, relative to the variance of the data.
    repair : bool
        Whether a covariance below the floor is lifted to it; otherwise it is an error.
    """

    structure: Structure = field(default_factory=Full)
    reg_covar: float = 0.0
    floor: float = 1e-13
    repair: bool = True

    @property
    def monotone(self) -> bool:
        return self.reg_covar == 0

    def prepare(
        self, components: Gaussians, weights: Array, dtype: np.dtype, rows: int
    ) -> Kernel[Moments]:
        from dask_em.models.kernels import choose_kernel

        return choose_kernel(components, weights, dtype, rows)

    def summarize(self, block: Block, responsibilities: Array) -> tuple[Array, Moments]:
        k, d = len(responsibilities), block.n_features
        values = block.values.astype(np.float64, copy=False)
        frame = Frame.of_rows(values, block.weights, self.structure.isotropic)
        rows = frame.inward(values)
        counts = responsibilities.sum(axis=1)
        safe = np.maximum(counts, np.finfo(float).tiny)
        origin = responsibilities @ rows / safe[:, None]
        dense = np.zeros(self.structure.dense_shape(k, d))
        first = np.zeros((k, d))
        for j, share in enumerate(responsibilities):
            centred = rows - origin[j]
            first[j] = share @ centred
            self.structure.scatter(centred * np.sqrt(share)[:, None], dense, j)
        return counts, Moments(first, self.structure.packed(dense), origin, frame)

    def estimate(self, counts: Array, sums: Moments) -> tuple[Gaussians, tuple[Repair, ...]]:
        frame = sums.frame
        deviations = sums.first / counts[:, None]
        covariances = self.structure.from_moments(counts, deviations, sums.second)
        if self.reg_covar:
            covariances = self.structure.inflated(covariances, self.reg_covar / frame.scale**2)
        covariances, repairs = self._floored(covariances)
        covariances = self.structure.scaled(covariances, frame.scale)
        means = frame.outward(sums.origin + deviations)
        return Gaussians(means, covariances, self.structure, frame), repairs

    def forgiving(self) -> Gaussian:
        return replace(self, repair=True)

    def _floored(self, covariances: Array) -> tuple[Array, tuple[Repair, ...]]:
        covariances, blamed = self.structure.floored(covariances, self.floor)
        if blamed and not self.repair:
            worst = ", ".join(
                f"{'all components' if self.structure.shared else f'component {k}'} (feature {f})"
                for k, f in blamed.items()
            )
            raise DegenerateError(f"{ILL_DEFINED} Collapsed: {worst}.")
        action = f"eigenvalues raised to {self.floor:g} of the variance of the data"
        return covariances, tuple(
            Repair("singular", None if self.structure.shared else k, f, action)
            for k, f in blamed.items()
        )

    def select(self, components: Gaussians, which: Array) -> Gaussians:
        covariances = components.covariances
        return replace(
            components,
            means=components.means[which],
            covariances=covariances if self.structure.shared else covariances[which],
        )

    def move(self, components: Gaussians, which: Array, rows: Array) -> Gaussians:
        means, covariances = components.means.copy(), components.covariances
        means[which] = rows
        if not self.structure.shared:
            covariances = covariances.copy()
            covariances[which] = np.delete(covariances, which, axis=0).mean(axis=0)
        return replace(components, means=means, covariances=covariances)

    def sample(
        self, components: Gaussians, component: int, n_rows: int, rng: np.random.Generator
    ) -> Array:
        mean = components.means[component]
        covariance = self.structure.dense(components.covariances, component, len(mean))
        return rng.multivariate_normal(mean, covariance, n_rows, method="cholesky")

    def n_free_parameters(self, components: Gaussians) -> int:
        k, d = components.means.shape
        return self.n_parameters(k, d)

    def n_parameters(self, k: int, d: int) -> int:
        return k * d + self.structure.n_free(k, d)

    def alike(self, components: Gaussians, dtype: np.dtype) -> Hashable:
        from dask_em.models.kernels import alike

        return alike(components, dtype)

    def aligned(self, components: Gaussians, like: Gaussians) -> Gaussians:
        return replace(components, frame=like.place)

    def stacked(self, parts: Sequence[Gaussians]) -> Gaussians:
        return Gaussians.stacked(parts)

    def part(self, sums: Moments, which: slice) -> Moments:
        return Moments(sums.first[which], sums.second[which], sums.origin[which], sums.frame)

    def geometry(self) -> GaussianGeometry:
        from dask_em.models.gaussian_geometry import GaussianGeometry

        return GaussianGeometry(self)

    def duplicates(self, components: Gaussians) -> list[int]:
        """Components within a millionth of a standard deviation of an earlier one."""
        means, _ = components.framed  # where an offset costs no digits
        white = self.structure.whiten(means, components.framed_factors)
        found = []
        for j in range(1, len(white)):
            near = np.abs(white[:j] - white[j]).max(axis=1) < 1e-6
            same = [self._same_spread(components, int(i), j) for i in np.flatnonzero(near)]
            if any(same):
                found.append(j)
        return found

    def _same_spread(self, components: Gaussians, i: int, j: int) -> bool:
        if self.structure.shared:
            return True
        one, other = components.framed_factors[i], components.framed_factors[j]
        return bool(np.allclose(one, other, rtol=1e-6, atol=1e-6 * np.abs(one).max()))
