"""The loop of a fit: propose, pass, choose, judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any, Generic, TypeVar

from dask_em.core.algorithm import Algorithm, Candidate, Proposal
from dask_em.core.em import Iterate
from dask_em.core.model import Model, Repair, SupportsRepair
from dask_em.core.records import Parameters, Record, Statistics
from dask_em.core.stopping import Outcome, Stopping
from dask_em.engine.first import FirstPass
from dask_em.engine.monitor import PassRecord
from dask_em.engine.passes import Passes
from dask_em.engine.trail import Trail

__all__ = ["Mending", "Progress", "iterate"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: how often components may be moved in one fit
MOST_RESEEDS = 3
#: objectives this close, relative to their size, are equal up to rounding
ROUNDING = 1e-8


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


@dataclass(frozen=True)
class Progress(Record, Generic[P, S]):
    """Where a fit stands after a pass: all that the next one depends on."""

    iterate: Iterate[P, S]
    memory: Record  # the algorithm's
    previous: float  # nats per row before the last pass
    history: tuple[PassRecord, ...]  # of this start, the first pass not included

    @property
    def n_passes(self) -> int:
        return len(self.history)


def iterate(
    passes: Passes[P, S],
    algorithm: Algorithm[P, S],
    mending: Mending[P, S],
    start: Callable[[], P],
    stopping: Stopping,
    previous: float,
    trail: Trail[P, S],
) -> tuple[Progress[P, S], P, Outcome]:
    """Pass after pass from one start until it is told to stop.

    Where the trail says that the start was interrupted, it goes on from there; the monitor is told
    of the passes before as well.

    Returns
    -------
    Progress, Parameters, Outcome
        The last pass, the parameters after its M-step, and how it ended.
    """
    loop = _Loop(passes, algorithm, mending)
    resumed = trail.resumed()
    if resumed is None:
        progress = trail.passed(loop.begin(start(), previous))
    else:
        progress = resumed
        for record in progress.history[:-1]:
            passes.monitor.end(record)
    while True:
        begin = time.perf_counter()
        proposal = algorithm.propose(progress.iterate, progress.memory)
        progress = _completed(progress, proposal.gap, time.perf_counter() - begin)
        passes.monitor.end(progress.history[-1])
        outcome = loop.judge(progress, proposal.gap, stopping)
        if outcome is not None:
            return *loop.ended(progress), outcome
        progress = trail.passed(loop.advance(progress, proposal))


class _Loop(Generic[P, S]):
    def __init__(
        self, passes: Passes[P, S], algorithm: Algorithm[P, S], mending: Mending[P, S]
    ) -> None:
        self.passes, self.algorithm, self.mending = passes, algorithm, mending

    def begin(self, start: P, previous: float) -> Progress[P, S]:
        made = self.passes.expect([start], 0)
        (statistics,) = made.statistics
        found = Iterate(start, statistics, self.mending.log_prior(start))
        told = self._told(made.record, Candidate("start", start), found, None)
        return Progress(found, self.algorithm.begin(), previous, (told,))

    def advance(self, progress: Progress[P, S], proposal: Proposal[P]) -> Progress[P, S]:
        """The best candidate of a pass, or the same iterate where all are worse."""
        before, candidates = progress.iterate, proposal.candidates
        wanted = proposal.sample_rows
        made = self.passes.expect(
            [one.parameters for one in candidates],
            progress.n_passes,
            None if wanted is None else self.mending.first.sampling(wanted),
        )
        record = made.record
        if made.survey is not None:
            record = replace(record, sample_rows=self.mending.first.grow(made.survey))
        found = [
            Iterate(one.parameters, sums, self.mending.log_prior(one.parameters))
            for one, sums in zip(candidates, made.statistics, strict=True)
        ]
        # a candidate may be so bad that its likelihood is not a number
        alone = len(found) == 1 and candidates[0].sure  # and perhaps of fewer components
        gains = [0.0] if alone else [self.algorithm.gained(one, before) for one in found]
        best = max(range(len(gains)), key=lambda i: (isfinite(gains[i]), gains[i]))
        slack = ROUNDING * max(1.0, abs(before.objective))
        memory = self.algorithm.learned(proposal.memory, before, found, gains)
        if not candidates[best].sure and not gains[best] > -slack:
            history = (*progress.history, replace(record, step="rejected"))
            # the gain of the pass before says nothing of where this one would have led
            return replace(progress, memory=memory, previous=-inf, history=history)
        told = self._told(record, candidates[best], found[best], before.objective)
        history = (*progress.history, told)
        return Progress(found[best], memory, before.objective, history)

    def _told(
        self,
        record: PassRecord,
        candidate: Candidate[P],
        found: Iterate[P, S],
        before: float | None,
    ) -> PassRecord:
        return replace(
            record,
            objective=found.objective,
            gain=None if before is None else found.objective - before,
            repairs=self.mending.found(found.parameters),
            step=candidate.step,
        )

    def judge(
        self, progress: Progress[P, S], gap: float | None, stopping: Stopping
    ) -> Outcome | None:
        # the first objective may follow one of other data: nothing can be said of its fall
        repaired = bool(self.mending.found(progress.iterate.parameters))
        monotone = self.mending.model.monotone and not repaired and progress.n_passes > 1
        objective = progress.iterate.objective
        return stopping.judge(progress.previous, objective, progress.n_passes, monotone, gap)

    def ended(self, progress: Progress[P, S]) -> tuple[Progress[P, S], P]:
        """With the parameters after the last M-step, which nothing moves to the sample's rows."""
        parameters = self.mending.model.maximize(progress.iterate.statistics)
        # no pass follows, so what was repaired goes with the last pass
        last = progress.history[-1]
        unsaid = [one for one in self.mending.found(parameters) if one not in last.repairs]
        last = replace(last, repairs=(*last.repairs, *unsaid))
        return replace(progress, history=(*progress.history[:-1], last)), parameters


def _completed(progress: Progress[P, S], gap: float | None, between: float) -> Progress[P, S]:
    last = replace(progress.history[-1], gap=gap, between_seconds=between)
    return replace(progress, history=(*progress.history[:-1], last))
