"""Probabilistic PCA of rows without gaps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator

from dask_em.core.block import Block
from dask_em.core.em import check_likelihood
from dask_em.models.frame import Frame
from dask_em.models.ppca_choice import Choice
from dask_em.models.ppca_closed import closed_form
from dask_em.models.ppca_gram import PPCAStatistics
from dask_em.models.ppca_missing import MissingPPCA
from dask_em.models.ppca_model import LatentModel, random_start
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_sums import LOST_DIGITS, em_step

__all__ = ["PPCA"]

#: relative error of a noise variance, for one row, that float64 rows should not exceed
LOST_OF_DOUBLES = 1e-9
#: and where it is no more than this, they are left where they are
LOST_BY_STAYING = 1e-11
#: how much smaller it must become for rows to be read again
WORTH_A_PASS = 10


@dataclass(frozen=True)
class PPCA(LatentModel[PPCAStatistics]):
    """``x = W z + mean + noise``, Bishop (2006) section 12.2.

    Parameters
    ----------
    n_components : int
        Latent dimensions q, 1 to d - 1.
    start : {"closed", "random"}
        Whether a fit starts from the optimum on the sample or from random loadings.
    floor : NoiseFloor
        What happens when the latent dimensions explain all of the data.
    choice : Choice, optional
        How the closed form decides on the number of latent dimensions, `n_components` at most.
    """

    choice: Choice | None = None

    def initialize(self, sample: Block, rng: Generator) -> PPCAParameters:
        mean, variance, frame = self.near(sample)
        if self.start == "random":
            return random_start(mean, variance, frame, self.n_components, rng)
        nothing_known = PPCAParameters.spherical(mean, variance, frame)
        statistics = self.expect(sample, nothing_known)
        check_likelihood(statistics)
        found = self.closed_form(statistics)
        # where that costs no digits, rows are squared as they are: they need not be copied
        plain, dtype = replace(found, frame=Frame.plain(sample.n_features)), sample.values.dtype
        lost = replace(statistics, at=plain).lost(dtype, plain)
        return plain if dtype == np.float64 and lost <= LOST_BY_STAYING else found

    def expect(self, block: Block, parameters: PPCAParameters) -> PPCAStatistics:
        return PPCAStatistics.of(block, parameters)

    def maximize(self, statistics: PPCAStatistics) -> PPCAParameters:
        """One step of EM on the scatter."""
        mean, covariance = statistics.moments
        before = statistics.at.framed
        cross = covariance @ before.gain.T
        total = float(np.trace(covariance))
        return em_step(mean, cross, total, before, self.floor).outward(statistics.frame)

    def with_gaps(self) -> MissingPPCA:
        return MissingPPCA(self.n_components, self.start, self.floor)

    def closed_form(self, statistics: PPCAStatistics) -> PPCAParameters:
        """The optimum, without iterating; of the chosen number of dimensions, if there is one."""
        q = self.n_components
        if self.choice is not None:
            q = self.choice.number(statistics, q, self.floor)
        return closed_form(statistics, q, self.floor)

    def placed(self, statistics: PPCAStatistics, parameters: PPCAParameters) -> PPCAStatistics:
        return statistics.placed(parameters)

    def nearer(self, statistics: PPCAStatistics, dtype: np.dtype[Any]) -> PPCAParameters | None:
        found = self.closed_form(statistics)
        lost = statistics.lost(dtype, found)
        if lost <= (LOST_DIGITS if dtype == np.float32 else LOST_OF_DOUBLES):
            return None
        there = replace(found, frame=None, repaired=())
        again = replace(statistics, at=there).lost(dtype, there)
        return there if again < lost / WORTH_A_PASS else None

    def statistics_bytes(self, n_features: int) -> int:
        return 8 * n_features * (n_features + self.n_components + 2)
