"""Principal component analysers as the components of a mixture; Tipping and Bishop (1999b)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from dask_em.core.block import Block
from dask_em.core.model import Repair
from dask_em.core.records import Array, Record
from dask_em.errors import InputError, SchemaError
from dask_em.models.emission import Emission, Kernel
from dask_em.models.frame import Frame
from dask_em.models.gaussian import Gaussian, Gaussians, Moments
from dask_em.models.low_rank import LowRank, analysed, composed
from dask_em.models.ppca_parameters import PPCAParameters

if TYPE_CHECKING:
    from dask_em.models.ppca_geometry import AnalyserGeometry

__all__ = ["Analysers", "PrincipalComponents"]


@dataclass(frozen=True)
class Analysers(Record):
    """``x = W z + mean + noise`` for each of k components, z standard normal in q dimensions.

    Raises
    ------
    SchemaError
        If the shapes do not fit.
    """

    means: Array  # (k, d) component means, units of the data
    loadings: Array  # (k, d, q) W, units of the data; columns are known up to a rotation
    noise_variances: Array  # (k,) squared units of the data
    frame: Frame | None = None  # where sums are taken; None: from the components themselves

    def __post_init__(self) -> None:
        k, d = self.means.shape
        if self.loadings.shape[:-1] != (k, d) or self.noise_variances.shape != (k,):
            raise SchemaError(
                f"means of shape {self.means.shape}, loadings of shape {self.loadings.shape} and "
                f"noise variances of shape {self.noise_variances.shape} do not fit; give (k, d), "
                "(k, d, q) and (k,)"
            )

    @classmethod
    def of(cls, components: Gaussians) -> Self:
        """The analysers that normal densities of their structure are."""
        structure = components.structure
        assert isinstance(structure, LowRank)
        loadings, noises = analysed(components.covariances, structure.n_latent)
        return cls(components.means, loadings, noises, components.frame)

    @property
    def q(self) -> int:
        """Latent dimensions."""
        return int(self.loadings.shape[2])

    @cached_property
    def normal(self) -> Gaussians:
        """The same densities, told by means and covariances."""
        covariances = composed(self.loadings, self.noise_variances)
        return Gaussians(self.means, covariances, LowRank(self.q), self.frame)

    def analyser(self, component: int) -> PPCAParameters:
        """One component by itself: its axes, its latent variables.

        Raises
        ------
        DegenerateError
            If its noise variance is not positive.
        """
        return PPCAParameters(
            self.means[component], self.loadings[component], float(self.noise_variances[component])
        )

    @classmethod
    def stacked(cls, parts: Sequence[Self]) -> Self:
        """The components of several mixtures of one frame, in order."""
        means, loadings, noises = (
            np.concatenate([getattr(one, name) for one in parts])
            for name in ("means", "loadings", "noise_variances")
        )
        made = cls(means, loadings, noises, parts[0].normal.place)
        made.__dict__["normal"] = Gaussians.stacked([one.normal for one in parts])
        return made


@dataclass(frozen=True)
class PrincipalComponents(Emission[Analysers, Moments]):
    """Probabilistic principal component analysers, each with its own mean, loadings and noise.

    Noise is alike in all features, so these should be of comparable scale. Sums are those of
    normal densities with general covariances, (k, d, d), and so is the work of a pass: for 10
    components of 2,000 features they take 320 MB in each task. Beyond that reduce the features
    first, for example with one `PPCA` of all rows.

    Parameters
    ----------
    n_latent : int
        Latent dimensions q of each component, 1 to d - 1.
    reg_covar : float
        Added to every noise variance, squared units of the data.
    floor : float
        Smallest noise variance that a component may have, relative to the variance of the data.
        Far below the default, sums of squares have too few digits left to see an ascent; clusters
        narrower than 1e-5 of the way between them need a lower one.
    repair : bool
        Whether a noise variance below the floor is lifted to it; otherwise it is an error.

    References
    ----------
    Tipping and Bishop (1999b), Neural Computation 11, 443-482.
    """

    n_latent: int
    reg_covar: float = 0.0
    floor: float = 1e-10
    repair: bool = True

    def __post_init__(self) -> None:
        if self.n_latent < 1:
            raise InputError(f"n_latent={self.n_latent}; it must be 1 or more")

    @property
    def family(self) -> Gaussian:
        """The family of normal densities that this one is."""
        return Gaussian(LowRank(self.n_latent), self.reg_covar, self.floor, self.repair)

    @property
    def monotone(self) -> bool:
        return self.family.monotone

    def prepare(
        self, components: Analysers, weights: Array, dtype: np.dtype, rows: int
    ) -> Kernel[Moments]:
        # by the Cholesky factor of W W' + noise I: the sums are of general covariances whatever
        # the densities are, and low-rank densities saved a tenth for d = 50, k = 8 and q = 5
        return self.family.prepare(components.normal, weights, dtype, rows)

    def summarize(self, block: Block, responsibilities: Array) -> tuple[Array, Moments]:
        return self.family.summarize(block, responsibilities)

    def estimate(self, counts: Array, sums: Moments) -> tuple[Analysers, tuple[Repair, ...]]:
        found, repairs = self.family.estimate(counts, sums)
        action = "noise variance lifted to its floor"
        return Analysers.of(found), tuple(replace(one, action=action) for one in repairs)

    def forgiving(self) -> PrincipalComponents:
        return replace(self, repair=True)

    def select(self, components: Analysers, which: Array) -> Analysers:
        return replace(
            components,
            means=components.means[which],
            loadings=components.loadings[which],
            noise_variances=components.noise_variances[which],
        )

    def move(self, components: Analysers, which: Array, rows: Array) -> Analysers:
        return Analysers.of(self.family.move(components.normal, which, rows))

    def sample(
        self, components: Analysers, component: int, n_rows: int, rng: np.random.Generator
    ) -> Array:
        return self.family.sample(components.normal, component, n_rows, rng)

    def n_free_parameters(self, components: Analysers) -> int:
        return self.family.n_free_parameters(components.normal)

    def n_parameters(self, k: int, d: int) -> int:
        return self.family.n_parameters(k, d)

    def duplicates(self, components: Analysers) -> list[int]:
        return self.family.duplicates(components.normal)

    def geometry(self) -> AnalyserGeometry:
        from dask_em.models.ppca_geometry import AnalyserGeometry

        return AnalyserGeometry(self)

    def alike(self, components: Analysers, dtype: np.dtype) -> Hashable:
        return self.family.alike(components.normal, dtype)

    def aligned(self, components: Analysers, like: Analysers) -> Analysers:
        return replace(components, frame=like.normal.place)

    def stacked(self, parts: Sequence[Analysers]) -> Analysers:
        return Analysers.stacked(parts)

    def part(self, sums: Moments, which: slice) -> Moments:
        return self.family.part(sums, which)
