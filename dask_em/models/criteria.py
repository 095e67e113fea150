"""Criteria to choose between models by, from the statistics of one pass."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, nan
from typing import Any, Self

from dask_em.core.geometry import SupportsGeometry
from dask_em.core.model import Model
from dask_em.core.records import Parameters, Record, Statistics

__all__ = ["CRITERIA", "Criteria"]

#: the criteria by name
CRITERIA = ("bic", "aic", "icl")


@dataclass(frozen=True)
class Criteria(Record):
    """How well parameters explain rows, and what they cost. Lower is better.

    References
    ----------
    Schwarz (1978), Akaike (1974); Biernacki, Celeux and Govaert (2000), equation 6, for `icl`.
    """

    log_likelihood: float  # nats, over all rows
    mass: float  # sum of the weights of the rows
    n_parameters: int  # free ones
    entropy: float = nan  # nats, of the responsibilities, over all rows; NaN if not known

    @classmethod
    def of(cls, model: Model[Any, Any], parameters: Parameters, statistics: Statistics) -> Self:
        """The criteria of parameters and the statistics that these induced.

        The entropy is NaN where the model has no `SupportsGeometry.geometry`. It takes no further
        pass: with r the responsibilities and p the joint density, ``-sum r log r`` is the
        log-likelihood less ``sum r log p``, which is linear in the statistics.
        """
        counting: Any = model
        geometry = model.geometry() if isinstance(model, SupportsGeometry) else None
        entropy = nan
        if geometry is not None:
            complete = geometry.complete(parameters, statistics)
            entropy = max(0.0, statistics.log_likelihood - complete)
        return cls(
            statistics.log_likelihood,
            statistics.mass,
            counting.n_free_parameters(parameters),
            entropy,
        )

    @property
    def bic(self) -> float:
        """Bayesian information criterion, twice nats."""
        return -2 * self.log_likelihood + self.n_parameters * log(self.mass)

    @property
    def aic(self) -> float:
        """Akaike information criterion, twice nats."""
        return -2 * self.log_likelihood + 2 * self.n_parameters

    @property
    def icl(self) -> float:
        """Integrated completed likelihood, twice nats: components that overlap cost."""
        return self.bic + 2 * self.entropy
