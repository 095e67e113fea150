"""How many latent dimensions: decided by the eigenvalues of the covariance, without a pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf, log

import numpy as np

from dask_em.core.records import Array, Record
from dask_em.errors import InputError
from dask_em.models.ppca_gram import PPCAStatistics
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import n_free

__all__ = ["Choice", "ExplainedVariance", "LeastBIC", "MostWithNoise"]


@dataclass(frozen=True)
class Choice(Record, ABC):
    """Decides on a number of latent dimensions."""

    @abstractmethod
    def number(self, statistics: PPCAStatistics, most: int, floor: NoiseFloor) -> int:
        """Latent dimensions, from 1 to `most`."""


@dataclass(frozen=True)
class MostWithNoise(Choice):
    """As many as leave more noise than the floor: d - 1, or fewer where rows span less."""

    def number(self, statistics: PPCAStatistics, most: int, floor: NoiseFloor) -> int:
        values = statistics.spectrum[0]
        limit = floor.relative * float(values.mean())
        return max(q for q in range(1, most + 1) if q == 1 or values[q:].mean() >= limit)


@dataclass(frozen=True)
class LeastBIC(Choice):
    """The number of least Bayesian information criterion; Schwarz (1978).

    Numbers that leave less noise than the floor are not considered, for their likelihood has no
    bound, unless all do.
    """

    def number(self, statistics: PPCAStatistics, most: int, floor: NoiseFloor) -> int:
        values, mass = statistics.spectrum[0], statistics.mass
        d, limit = len(values), floor.relative * float(values.mean())
        found = [
            _minus_twice(values, q, limit) * mass + n_free(d, q) * log(mass)
            for q in range(1, most + 1)
        ]
        return 1 + int(np.argmin(found))


@dataclass(frozen=True)
class ExplainedVariance(Choice):
    """The smallest number whose principal axes have a fraction of the variance.

    Parameters
    ----------
    fraction : float
        Above 0 and below 1.
    """

    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise InputError(
                f"n_components={self.fraction} is a fraction of the variance; give one above 0 and "
                "below 1, or an int of 1 or more"
            )

    def number(self, statistics: PPCAStatistics, most: int, floor: NoiseFloor) -> int:
        explained = np.cumsum(statistics.spectrum[0])
        enough = int(np.searchsorted(explained, self.fraction * explained[-1])) + 1
        return min(enough, most)


def _minus_twice(values: Array, q: int, limit: float) -> float:
    """Minus twice the greatest log-likelihood of q dimensions, nats per row, less a constant.

    Of Tipping and Bishop (1999), equation 12 in appendix A.
    """
    noise = float(values[q:].mean())
    if noise < limit:
        return inf
    return float(np.log(values[:q]).sum()) + (len(values) - q) * log(noise)
