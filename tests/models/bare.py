"""A model that offers no more than it must."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dask_em import Mixture, Model
from dask_em.core.block import Block
from dask_em.models.mixture import MixtureParameters, MixtureStatistics


@dataclass(frozen=True)
class Bare(Model[MixtureParameters, MixtureStatistics]):
    """A mixture that tells nothing but its E-step and its M-step, as a user's own model might."""

    mixture: Mixture

    def initialize(self, sample: Block, rng: np.random.Generator) -> MixtureParameters:
        return self.mixture.initialize(sample, rng)

    def expect(self, block: Block, parameters: MixtureParameters) -> MixtureStatistics:
        return self.mixture.expect(block, parameters)

    def maximize(self, statistics: MixtureStatistics) -> MixtureParameters:
        return self.mixture.maximize(statistics)

    @property
    def monotone(self) -> bool:
        return self.mixture.monotone
