"""The optimum of the basin that parameters lie in, which passes are counted to.

All rows are in memory, so that they are their own surrogate: it is climbed to the last digits, and
again from there, for as long as that gains anything.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dask_em.core.block import Block
from dask_em.core.climb import Effort, climb
from dask_em.core.records import Array
from dask_em.core.surrogate import Surrogate
from dask_em.models.mixture import Mixture, MixtureParameters, MixtureStatistics

THREADS = 2
#: of one climb; differences of slopes have no more digits than these
EFFORT = Effort(relative=1e-15, tolerance=1e-13, evaluations=1500, em_steps=10)
#: nats per row that a further climb must gain, and how many there are
EXACT, CLIMBS = 1e-11, 6


class InMemory:
    """The E-step of rows (n, d), with a thread for each part of them."""

    def __init__(self, mixture: Mixture, rows: Array) -> None:
        self.mixture = mixture
        self._blocks = [Block(part) for part in np.array_split(rows, THREADS)]

    def expect(self, parameters: MixtureParameters) -> MixtureStatistics:
        with ThreadPoolExecutor(THREADS) as threads:
            parts = threads.map(lambda block: self.mixture.expect(block, parameters), self._blocks)
            first, *others = parts
        return sum(others, start=first)

    def objective(self, parameters: MixtureParameters) -> float:
        """Nats per row."""
        statistics = self.expect(parameters)
        return statistics.log_likelihood / statistics.mass


def optimum(rows: InMemory, parameters: MixtureParameters) -> float:
    """Nats per row at the fixed point of EM near parameters."""
    geometry = rows.mixture.geometry()
    assert geometry is not None
    objective = rows.objective(parameters)
    for _ in range(CLIMBS):
        statistics = rows.expect(parameters)
        surrogate = Surrogate.around(geometry, rows.expect, parameters, statistics)
        parameters = climb(surrogate, parameters, EFFORT).parameters
        before, objective = objective, rows.objective(parameters)
        if abs(objective - before) < EXACT:
            break
    return objective
