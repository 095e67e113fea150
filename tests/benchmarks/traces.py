"""One fit of one case by one method: the objective against the full passes it had cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dask_em import Model, Stopping, fit
from dask_em.core.records import Array
from dask_em.engine.fit import Fitted
from dask_em.models.mixture import Mixture, MixtureParameters
from tests.benchmarks.mixtures import Case
from tests.benchmarks.optimum import InMemory, optimum
from tests.models.bare import Bare

#: passes of plain EM between two looks at whether it has arrived
BATCH = 100
#: the last passes of a trace, of which its rate of convergence is taken
TAIL = 100
#: a trace is extrapolated to so many times its passes
FARTHEST = 10
#: nats per row: objectives this close to an optimum are in its basin, and have arrived
ARRIVED = 5e-9
#: passes that other methods may make
MOST_ACCELERATED = 100


@dataclass(frozen=True)
class Trace:
    """Objectives of a fit.

    Parameters
    ----------
    method : str
    passes : tuple of float
        Full passes made when each objective was known; a sample counts as its share of one.
    objectives : tuple of float
        Nats per row.
    steps : tuple of str
        What each pass went on with.
    parameters : MixtureParameters
        Of the end.
    seconds : float
    optimum : float
        Nats per row at the top of the basin where the fit ended.
    """

    method: str
    passes: tuple[float, ...]
    objectives: tuple[float, ...]
    steps: tuple[str, ...]
    parameters: MixtureParameters
    seconds: float
    optimum: float = float("nan")

    def passes_to(self, gap: float) -> float | None:
        """Passes until the objective was within a gap of the optimum; None if it never was."""
        for passes, objective in zip(self.passes, self.objectives, strict=True):
            if objective >= self.optimum - gap:
                return passes
        return None

    def expected_to(self, gap: float) -> float | None:
        """The same, at the rate at which the gap shrank in the last passes.

        None if it did not shrink, or so little that the rate says nothing: on a plateau.
        """
        gaps = self.optimum - np.array(self.objectives[-TAIL - 1 :])
        if len(gaps) < 2 or not gaps[0] > gaps[-1] > 0:
            return None
        rate = np.log(gaps[0] / gaps[-1]) / (len(gaps) - 1)
        further = max(0.0, float(np.log(gaps[-1] / gap) / rate))
        return self.passes[-1] + further if further < FARTHEST * self.passes[-1] else None


@dataclass(frozen=True)
class Problem:
    """A case with its rows in memory."""

    case: Case
    rows: Array  # (n, d)
    in_memory: InMemory

    @classmethod
    def load(cls, case: Case, most: int | None) -> Problem:
        rows = case.load(most)
        return cls(case, rows, InMemory(case.mixture(), rows))

    @property
    def mixture(self) -> Mixture:
        return self.in_memory.mixture

    def start(self, sample_rows: int, seed: int) -> MixtureParameters:
        """The start that k-means makes of a sample."""
        fitted: Fitted[MixtureParameters] = fit(
            self.mixture,
            self.rows,
            algorithm="em",
            init_sample=sample_rows,
            stopping=Stopping(0, max_iter=0),
            rng=np.random.default_rng(seed),
        )
        return fitted.parameters

    def topped(self, trace: Trace, known: list[float]) -> Trace:
        """The trace with the optimum of its basin, looked for among the known ones first."""
        end = self.in_memory.objective(trace.parameters)
        for top in known:
            if abs(end - top) < ARRIVED:
                return replace(trace, optimum=top)
        top = optimum(self.in_memory, trace.parameters)
        near = [other for other in known if abs(other - top) < ARRIVED]
        return replace(trace, optimum=(near or [top])[0])


def plain(problem: Problem, start: MixtureParameters, known: list[float], most: int) -> Trace:
    """Textbook EM until it arrives at a known optimum, or nowhere further."""
    begin = time.perf_counter()
    objectives: list[float] = []
    parameters = start
    while len(objectives) < most:
        stopping = Stopping(0, min(BATCH, most - len(objectives)))
        fitted = fit(
            problem.mixture, problem.rows, algorithm="em", start=parameters, stopping=stopping
        )
        parameters = fitted.parameters
        objectives += fitted.objectives
        moved = objectives[-1] - objectives[max(0, len(objectives) - BATCH)]
        if moved < 1e-12 or any(abs(objectives[-1] - top) < ARRIVED for top in known):
            break
    return Trace(
        "em",
        tuple(float(n) for n in range(1, len(objectives) + 1)),
        tuple(objectives),
        ("em",) * len(objectives),
        parameters,
        time.perf_counter() - begin,
    )


def accelerated(
    problem: Problem, start: MixtureParameters, sample_rows: int, *, bare: bool = False
) -> Trace:
    """Few passes: corrected by a sample or, for a bare model, extrapolated by Anderson."""
    model: Model[Any, Any] = Bare(problem.mixture) if bare else problem.mixture
    begin = time.perf_counter()
    fitted = fit(
        model,
        problem.rows,
        algorithm="accelerated",
        start=start,
        init_sample=sample_rows,
        stopping=Stopping(1e-12, MOST_ACCELERATED, tol_gap=1e-11),
    )
    seconds = time.perf_counter() - begin
    share = sample_share(fitted, len(problem.rows))
    full = [record for record in fitted.history if record.objective is not None]
    return Trace(
        "anderson" if bare else "accelerated",
        tuple(share + n for n in range(1, len(full) + 1)),
        tuple(fitted.objectives),
        tuple(record.step or "" for record in full),
        fitted.parameters,
        seconds,
    )


def sample_share(fitted: Fitted[Any], n_rows: int) -> float:
    """What the sample cost: its share of a pass, to which it grew in the end."""
    return max((record.sample_rows for record in fitted.history), default=0) / n_rows
