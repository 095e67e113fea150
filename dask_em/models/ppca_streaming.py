"""Probabilistic PCA of wide data: no d x d matrix is ever formed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.random import Generator

from dask_em.core.block import Block
from dask_em.core.model import Model
from dask_em.models.ppca_missing import MissingPPCA
from dask_em.models.ppca_model import LatentModel, random_start
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_products import PPCAProducts
from dask_em.models.ppca_spectral import PPCASpectral
from dask_em.models.ppca_sums import em_step

__all__ = ["StreamingPPCA"]


@dataclass(frozen=True)
class StreamingPPCA(LatentModel[PPCAProducts]):
    """``x = W z + mean + noise``, Bishop (2006) section 12.2, without a d x d matrix.

    EM needs of the scatter its product with the loadings and its trace alone. Accelerated fits
    multiply blocks of directions besides, see `dask_em.core.krylov`: a pass sums 3 d q numbers, and
    up to 32 d q, in 256 MB at most unless that is too little, are kept where the fit was called.

    Parameters
    ----------
    n_components : int
        Latent dimensions q, 1 to d - 1.
    start : {"closed", "random"}
        Whether a fit starts near the optimum on the sample or from random loadings.
    floor : NoiseFloor
        What happens when the latent dimensions explain all of the data.
    """

    def initialize(self, sample: Block, rng: Generator) -> PPCAParameters:
        mean, variance, frame = self.near(sample)
        if self.start == "random":
            return random_start(mean, variance, frame, self.n_components, rng)
        return self.spectral().of_sample(sample, mean, variance, frame, rng)[0]

    def expect(self, block: Block, parameters: PPCAParameters) -> PPCAProducts:
        return PPCAProducts.of_each(block, [parameters])[0]

    def maximize(self, statistics: PPCAProducts) -> PPCAParameters:
        """One step of EM on the products."""
        before = statistics.at.framed
        cross = before.solve_inner(statistics.image.T).T
        found = em_step(statistics.mean, cross, statistics.total, before, self.floor)
        return found.outward(statistics.frame)

    def with_gaps(self) -> MissingPPCA:
        return MissingPPCA(self.n_components, self.start, self.floor)

    def statistics_bytes(self, n_features: int) -> int:
        # accelerated passes multiply twice as many directions besides
        return 8 * n_features * 2 * (3 * self.n_components + 2)

    def spectral(self) -> PPCASpectral:
        return PPCASpectral(self.n_components, self.floor)

    def joins(self, other: Model[Any, Any]) -> bool:
        return isinstance(other, StreamingPPCA)

    def aligned(self, parameters: PPCAParameters, like: PPCAParameters) -> PPCAParameters:
        return replace(parameters, frame=like.place)

    def expect_each(self, block: Block, candidates: Sequence[PPCAParameters]) -> list[PPCAProducts]:
        alike = all(one.place.equals(candidates[0].place) for one in candidates)
        if alike:
            return PPCAProducts.of_each(block, candidates)
        return [self.expect(block, one) for one in candidates]
