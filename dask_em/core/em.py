"""The loop of Dempster, Laird and Rubin (1977)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from math import isfinite
from typing import Any, Generic, TypeVar

from dask_em.core.block import Block
from dask_em.core.model import Maximizes, Model
from dask_em.core.records import Parameters, Record, Statistics
from dask_em.core.stopping import Outcome, Stopping
from dask_em.errors import DataError

__all__ = ["Fit", "Iterate", "check_likelihood", "em", "fit"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


@dataclass(frozen=True)
class Iterate(Record, Generic[P, S]):
    """Parameters and the statistics that they induce."""

    parameters: P
    statistics: S
    log_prior: float = 0.0  # nats

    @property
    def objective(self) -> float:
        """Log-likelihood plus log-prior, nats per unit of mass (per row without weights)."""
        return (self.statistics.log_likelihood + self.log_prior) / self.statistics.mass


def check_likelihood(found: Iterate[Any, Any] | Statistics, rows: str = "the rows") -> None:
    """Refuse sums of rows that floats cannot hold.

    Raises
    ------
    DataError
        If the log-likelihood, or the objective, is no number.
    """
    statistics = found.statistics if isinstance(found, Iterate) else found
    value = found.objective if isinstance(found, Iterate) else found.log_likelihood
    if not isfinite(value):
        raise DataError(
            f"the log-likelihood of {rows} is {statistics.log_likelihood}: values are NaN, "
            "infinite, or they or their weights too large or too small to be squared; mask or "
            "rescale them"
        )


@dataclass(frozen=True)
class Fit(Generic[P, S]):
    """A finished run of `em`."""

    parameters: P  # after the last M-step
    last: Iterate[P, S]  # the last pass: its objective is one M-step behind `parameters`
    objectives: tuple[float, ...]  # nats per row, one per pass
    outcome: Outcome


def em(model: Maximizes[P, S], e_step: Callable[[P], S], parameters: P) -> Iterator[Iterate[P, S]]:
    """Alternate E-step and M-step for ever; whoever consumes the iterates decides when to stop."""
    for _ in count():
        statistics = e_step(parameters)
        yield Iterate(parameters, statistics, model.log_prior(parameters))
        parameters = model.maximize(statistics)


def fit(model: Model[P, S], block: Block, start: P, stopping: Stopping) -> Fit[P, S]:
    """Run `em` on one block in memory until `stopping` ends it.

    Raises
    ------
    DataError
        If a value of the block is NaN or infinite, or the block has no mass.
    """
    if not block.mass > 0:
        raise DataError("there are no rows to fit; at least one with a positive weight is needed")
    objectives = [-float("inf")]
    outcome: Outcome | None = None
    iterates = em(model, lambda parameters: model.expect(block, parameters), start)
    while outcome is None:
        iterate = next(iterates)
        check_likelihood(iterate)
        outcome = stopping.judge(objectives[-1], iterate.objective, len(objectives))
        objectives.append(iterate.objective)
    return Fit(model.maximize(iterate.statistics), iterate, tuple(objectives[1:]), outcome)
