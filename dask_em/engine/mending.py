"""Mending: a model whose useless components are moved to rows of the sample."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from dask_em.core.model import Model, Repair, SupportsRepair
from dask_em.core.records import Parameters, Statistics
from dask_em.engine.first import FirstPass

__all__ = ["MOST_RESEEDS", "Mending"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: how often components may be moved in one fit
MOST_RESEEDS = 3


class Mending(Generic[P, S]):
    """A model whose M-step also moves useless components to rows of the sample.

    The model's own M-step sees statistics only; the sample is what a fit adds.
    """

    def __init__(self, model: Model[P, S], first: FirstPass) -> None:
        self.model, self.first = model, first
        self.reseeds = 0

    def found(self, parameters: P) -> tuple[Repair, ...]:
        """What the model had to repair to get these parameters."""
        if isinstance(self.model, SupportsRepair):
            return self.model.repairs(parameters)
        return ()

    def is_useless(self, parameters: P) -> bool:
        """Whether a component of these parameters is empty or equal to another."""
        return any(repair.kind != "singular" for repair in self.found(parameters))

    def log_prior(self, parameters: P) -> float:
        return self.model.log_prior(parameters)

    def maximize(self, statistics: S) -> P:
        parameters = self.model.maximize(statistics)
        if not self.is_useless(parameters) or self.reseeds >= MOST_RESEEDS:
            return parameters
        self.reseeds += 1
        model: Any = self.model
        return model.reseed(parameters, self.first.sample())  # type: ignore[no-any-return]
