"""Course: the way of one start. Candidates wait for a pass; what it finds decides how to go on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Generic, TypeVar

from dask_em.core.algorithm import Algorithm, Candidate, Proposal
from dask_em.core.em import Iterate, check_likelihood
from dask_em.core.records import Parameters, Record, Statistics
from dask_em.core.stopping import Outcome, Stopping
from dask_em.engine.mending import Mending
from dask_em.engine.monitor import PassRecord

__all__ = ["Course", "Progress"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: objectives this close, relative to their size, are equal up to rounding
ROUNDING = 1e-8


@dataclass(frozen=True)
class Progress(Record, Generic[P, S]):
    """Where a start stands after a pass: all that the next one depends on."""

    iterate: Iterate[P, S]
    memory: Record  # the algorithm's
    previous: float  # nats per row before the last pass
    history: tuple[PassRecord, ...]  # of this start, the first pass not included

    @property
    def n_passes(self) -> int:
        return len(self.history)


class Course(Generic[P, S]):
    """One start on its way to an optimum.

    Parameters
    ----------
    algorithm : Algorithm
    mending : Mending
    stopping : Stopping
    """

    def __init__(
        self,
        algorithm: Algorithm[P, S],
        mending: Mending[P, S],
        stopping: Stopping,
    ) -> None:
        self.mending, self.stopping = mending, stopping
        self._algorithm, self._previous = algorithm, -inf
        self._progress: Progress[P, S] | None = None
        self._proposal: Proposal[P] | None = None
        self.outcome: Outcome | None = None

    @property
    def candidates(self) -> tuple[Candidate[P], ...]:
        """What the next pass is to try; nothing before the start and after the end."""
        return () if self._proposal is None or self.outcome else self._proposal.candidates

    @property
    def sample_rows(self) -> int | None:
        """Rows of a larger sample that the next pass should bring along."""
        return self._proposal.sample_rows if self._proposal and not self.outcome else None

    @property
    def may_fail(self) -> bool:
        """Whether all candidates are such that theory promises nothing of them."""
        return self.has_passed and not any(one.sure for one in self.candidates)

    @property
    def progress(self) -> Progress[P, S]:
        """Where it stands; it has begun."""
        assert self._progress is not None
        return self._progress

    @property
    def has_passed(self) -> bool:
        return self._progress is not None

    def begin(self, starts: Sequence[P], previous: float = -inf) -> None:
        """Wait for a pass at starts, where an earlier fit had reached so many nats per row."""
        self._previous = previous
        candidates = tuple(Candidate("start", start) for start in starts)
        self._proposal = Proposal(candidates, self._algorithm.begin())

    def go_on(self, progress: Progress[P, S]) -> None:
        """Stand somewhere, as it was kept."""
        self._progress = progress

    def propose(self) -> Outcome | None:
        """Choose the candidates of the next pass, unless this is the end."""
        begin, progress = time.perf_counter(), self.progress
        proposal = self._algorithm.propose(progress.iterate, progress.memory)
        between = time.perf_counter() - begin
        gap = proposal.gap if proposal.gap is not None and isfinite(proposal.gap) else None
        last = replace(progress.history[-1], gap=gap, between_seconds=between)
        self._progress = replace(progress, history=(*progress.history[:-1], last))
        self._proposal, self.outcome = proposal, self._judge(proposal.gap)
        return self.outcome

    def take(self, statistics: Sequence[S], record: PassRecord) -> None:
        """Go on with the best candidate of a pass, or stay where all are worse.

        Parameters
        ----------
        statistics : sequence of Statistics
            Of each candidate.
        record : PassRecord
            What the pass cost.

        Raises
        ------
        DataError
            If the likelihood is no number.
        """
        assert self._proposal is not None
        found = [
            Iterate(one.parameters, sums, self.mending.log_prior(one.parameters))
            for one, sums in zip(self._proposal.candidates, statistics, strict=True)
        ]
        self._progress = (
            self._begun(found, record)
            if self._progress is None
            else self._advanced(self._progress, self._proposal, found, record)
        )
        check_likelihood(self._progress.iterate)

    def ended(self) -> tuple[Progress[P, S], P]:
        """With the parameters after the last M-step, which nothing moves to the sample's rows.

        Where the algorithm knows better ones, with these.
        """
        progress = self.progress
        parameters = self._proposal.conclusion if self._proposal else None
        if parameters is None:
            parameters = self.mending.model.maximize(progress.iterate.statistics)
        # no pass follows, so what was repaired goes with the last pass
        last = progress.history[-1]
        unsaid = [one for one in self.mending.found(parameters) if one not in last.repairs]
        last = replace(last, repairs=(*last.repairs, *unsaid))
        return replace(progress, history=(*progress.history[:-1], last)), parameters

    def _begun(self, found: list[Iterate[P, S]], record: PassRecord) -> Progress[P, S]:
        assert self._proposal is not None
        eligible = self._algorithm.eligible(found)
        best = max(eligible, key=lambda one: (isfinite(one.objective), one.objective))
        told = self._told(record, self._proposal.candidates[0], best, None)
        memory = self._algorithm.begun(self._proposal.memory, found)
        return Progress(best, memory, self._previous, (told,))

    def _advanced(
        self,
        progress: Progress[P, S],
        proposal: Proposal[P],
        found: list[Iterate[P, S]],
        record: PassRecord,
    ) -> Progress[P, S]:
        before, candidates = progress.iterate, proposal.candidates
        # a candidate may be so bad that its likelihood is not a number
        alone = len(found) == 1 and candidates[0].sure  # and perhaps of fewer components
        gains = [0.0] if alone else [self._algorithm.gained(one, before) for one in found]
        eligible = range(len(self._algorithm.eligible(found)))
        best = max(eligible, key=lambda i: (isfinite(gains[i]), gains[i]))
        slack = ROUNDING * max(1.0, abs(before.objective))
        memory = self._algorithm.learned(proposal.memory, before, found, gains)
        if not candidates[best].sure and not gains[best] > -slack:
            history = (*progress.history, replace(record, step="rejected"))
            # the gain of the pass before says nothing of where this one would have led
            return replace(progress, memory=memory, previous=-inf, history=history)
        told = self._told(record, candidates[best], found[best], before.objective)
        return Progress(found[best], memory, before.objective, (*progress.history, told))

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

    def _judge(self, gap: float | None) -> Outcome | None:
        progress = self.progress
        # the first objective may follow one of other data: nothing can be said of its fall
        repaired = bool(self.mending.found(progress.iterate.parameters))
        monotone = self.mending.model.monotone and not repaired and progress.n_passes > 1
        objective = progress.iterate.objective
        return self.stopping.judge(progress.previous, objective, progress.n_passes, monotone, gap)
