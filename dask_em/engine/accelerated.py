"""How a model is fitted in few passes: what it adds decides, and what the sample is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isnan
from typing import Any, Generic, TypeVar

import numpy as np

from dask_em.core.algorithm import Algorithm
from dask_em.core.anderson_em import AndersonEM
from dask_em.core.block import Block
from dask_em.core.corrected import CorrectedEM
from dask_em.core.krylov import KrylovEM
from dask_em.core.model import Model
from dask_em.core.optimum import optimum
from dask_em.core.records import Parameters, Statistics
from dask_em.core.stopping import Stopping
from dask_em.engine.first import FirstPass
from dask_em.engine.mending import Mending
from dask_em.engine.method import geometry_of, spectral_of
from dask_em.engine.runner import LocalRunner
from dask_em.engine.sample import largest_size
from dask_em.engine.sample_rows import SampleRows
from dask_em.engine.source import Schema
from dask_em.errors import InputError

__all__ = ["LEAST_ROWS", "Accelerated", "Beginnings", "to_the_optimum"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: accelerated fits end this near their optimum unless told otherwise, nats per row
TOL_GAP = 1e-6
#: rows that a start is made from
START_ROWS = 1 << 17
#: a sample of fewer rows for each free parameter has no optimum worth a pass
FEWEST_ROWS = 5
#: and one that cannot grow to so many stands for nothing
LEAST_ROWS = 20


def to_the_optimum(stopping: Stopping) -> Stopping:
    """The rule of a fit that passes are few for: near the optimum, not where gains are small."""
    if stopping.tol_gap is not None:
        return stopping
    return Stopping(stopping.tol, stopping.max_iter, min(stopping.tol, TOL_GAP))


class Beginnings:
    """The first rows of a sample in float64, for all models alike."""

    def __init__(self, first: FirstPass) -> None:
        self.first = first
        self._threads = LocalRunner().resources.n_threads
        self._block = lru_cache(1)(self._converted)  # others are asked for when it has grown

    def rows(self, model: Model[P, S], n_rows: int) -> SampleRows[P, S]:
        return SampleRows(model, self._block(n_rows), self._threads)

    def _converted(self, n_rows: int) -> Block:
        block = self.first.beginning(n_rows)
        return Block(block.values.astype(np.float64, copy=False), block.weights)


class Accelerated(Generic[P, S]):
    """What one model's accelerated fit is made of.

    Parameters
    ----------
    mending : Mending
    schema : Schema
        Of all rows.
    sample : Beginnings
    """

    def __init__(self, mending: Mending[P, S], schema: Schema, sample: Beginnings) -> None:
        self._mending, self._schema, self._sample = mending, schema, sample
        self._model = mending.model
        self._geometry, self._spectral = geometry_of(self._model), spectral_of(self._model)
        self.n_free = self._model.n_parameters(schema.n_features) or 1

    @property
    def n_rows(self) -> int:
        """Rows of the sample of the first pass."""
        return len(self._sample.first.sample())

    @property
    def most_rows(self) -> int:
        """Rows to which the sample may grow."""
        first = self._sample.first
        if first.holds_every_row():
            return self.n_rows
        return max(self.n_rows, largest_size(self._schema, first.n_rows))

    @property
    def is_short(self) -> bool:
        """Whether more rows in the sample would help: there are more, and a geometry."""
        if self._geometry is None or self._sample.first.holds_every_row():
            return False
        few = self.n_rows < FEWEST_ROWS * self.n_free
        return few or self.most_rows < LEAST_ROWS * self.n_free

    @property
    def corrects(self) -> bool:
        """Whether there is a geometry, and a sample that can stand for all rows."""
        return self._geometry is not None and not self.is_short

    def algorithm(self) -> Algorithm[P, S]:
        if self._spectral is not None:
            return KrylovEM(self._spectral)
        if self._geometry is None or not self.corrects:
            return AndersonEM(self._mending, self._can_be_evaluated)
        return CorrectedEM(
            self._geometry,
            lambda n_rows: self._sample.rows(self._model, n_rows),
            self.n_rows,
            self.most_rows,
            self._mending,
            self._mending.is_useless,
            self._can_be_evaluated,
        )

    def beginnings(self, start: P, rng: np.random.Generator) -> list[P]:
        """What the pass at a start evaluates, where no sample is climbed."""
        if self._spectral is None:
            return [start]
        return self._spectral.beginnings(start, self._sample.first.sample(), rng)

    def start(self, made: Callable[[Block], Sequence[P]]) -> P:
        """The best optimum of the sample that some starts, made of its rows, lead to."""
        assert self._geometry is not None
        rows: SampleRows[Any, Any] = self._sample.rows(self._model, self.n_rows)
        # EM's own start where it is as cheap
        few = self.n_rows <= START_ROWS
        block = self._sample.first.sample() if few else rows.block.take(slice(0, START_ROWS))
        found = optimum(self._geometry, rows, made(block), self.n_free, self._can_be_evaluated)
        parameters: P = found.parameters
        return parameters

    def _can_be_evaluated(self, parameters: P) -> bool:
        """Whether a pass with parameters would not end the fit; tried on a row of zeros."""
        row = Block(np.zeros((1, self._schema.n_features), self._schema.dtype))
        try:
            with np.errstate(all="ignore"):
                return not isnan(self._model.expect(row, parameters).log_likelihood)
        except InputError:
            return False
