"""ModelCase: a model under test and what is known about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng

from dask_em.core.block import Block
from dask_em.core.model import Model
from dask_em.core.records import Array, Parameters, Record, Statistics
from dask_em.models.mixture import Mixture, MixtureParameters

__all__ = ["ModelCase", "relabelled"]


@dataclass(frozen=True, eq=False)
class ModelCase:
    """A model, rows for it, and what is known about the two.

    Parameters
    ----------
    name : str
    model : Model
    rows : callable
        Draws n rows (n, d) of order 1, float64. Where `planted` is given, from that.
    planted : Parameters, optional
        What `rows` are drawn from, to be found again.
    log_density : callable, optional
        Oracle: log-density (n,) of rows (n, d) at parameters, nats.
    step : callable, optional
        Oracle: the parameters after one EM step on rows (n, d) from parameters.
    moved : callable, optional
        The parameters of rows ``scale * x + shift``, from those of x, shift (d,) and scale.
    single : float
        Relative error of the sums that float32 rows may cause.
    starts : int
        How many starts are tried before planted parameters must have been found.
    """

    name: str
    model: Model[Any, Any]
    rows: Callable[[int, Generator], Array]
    planted: Parameters | None = None
    log_density: Callable[[Array, Any], Array] | None = None
    step: Callable[[Array, Any], Parameters] | None = None
    moved: Callable[[Any, Array, float], Parameters] | None = None
    single: float = 1e-5
    starts: int = 4

    def __str__(self) -> str:
        return self.name

    @cached_property
    def parameters(self) -> Parameters:
        """Parameters one EM step after the model's own start: neither special nor optimal."""
        rng = default_rng(1)
        block = Block(self.rows(300, rng))
        start = self.model.initialize(block, rng)
        found: Parameters = self.model.maximize(self.model.expect(block, start))
        return found

    def expect(self, block: Block) -> Statistics:
        """The statistics of a block at `parameters`."""
        found: Statistics = self.model.expect(block, self.parameters)
        return found

    def objective(self, block: Block, parameters: Parameters) -> float:
        """Log-likelihood and log-prior, nats per unit of mass."""
        found = self.model.expect(block, parameters).log_likelihood
        return float(found + self.model.log_prior(parameters)) / block.mass

    def records(self) -> dict[str, Record]:
        """Model, parameters and statistics, by these names."""
        statistics = self.expect(self.drawn(4, 30))
        return {"model": self.model, "parameters": self.parameters, "statistics": statistics}

    def drawn(self, seed: int, n: int, weighted: bool = False) -> Block:
        """Rows, and with `weighted` their weights, a tenth of which are 0."""
        rng = default_rng(seed)
        rows = self.rows(n, rng)
        if not weighted:
            return Block(rows)
        weights = rng.uniform(0.1, 3.0, n)
        weights[rng.random(n) < 0.1] = 0.0
        return Block(rows, weights)


def relabelled(
    model: Mixture, parameters: MixtureParameters, order: Sequence[int]
) -> MixtureParameters:
    """The same mixture, its components listed in another order."""
    which = np.array(order)
    components = model.emission.select(parameters.components, which)
    return MixtureParameters(parameters.weights[which], components)
