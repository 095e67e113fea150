"""Corrected EM: full passes correct a sample that stands for them in memory.

Between two passes the sample, corrected by what the last pass found it to get wrong, is climbed to
its top, see `core.surrogate` and `core.climb`. The error contracts at each pass by the relative
error of the sample's curvature, however much the components overlap. What is left of that error is
learned from the slopes that every pass brings, see `core.secants`; where it is large, the climb
is bounded by a trust region, a pass tries several, and the sample grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from dask_em.core.algorithm import Algorithm, Candidate, Proposal, remaining
from dask_em.core.climb import Climbed, Effort, Trusted, climb
from dask_em.core.em import Iterate
from dask_em.core.geometry import Geometry
from dask_em.core.model import Maximizes
from dask_em.core.records import Array, Parameters, Record, Statistics
from dask_em.core.secants import Secants
from dask_em.core.surrogate import Surrogate
from dask_em.errors import DegenerateError

__all__ = ["CorrectedEM", "Corrections", "Known", "Rows"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: places whose slopes are remembered, and the bytes of their statistics
MEMORY, MEMORY_BYTES = 16, 64 << 20
#: radius in which a surrogate is trusted at first: standard deviations of the complete data
RADIUS = 2.0
#: and where it is trusted no further, all that led there is forgotten
SMALLEST_RADIUS = 1e-4
#: slopes differ by less for each unit of the way: the curvature of the complete data is one
STEEPEST = 100.0
#: where it was wrong, a pass tries so many radii, each a share of the one before
LADDER, SHARE = 3, 0.25
#: a surrogate is right where a pass gains so much of what it promised, and very right
RIGHT, VERY_RIGHT = 0.25, 0.5
#: one that promises more than this share of what the last pass gained contracts slowly
SLOW = 0.1
#: by which a sample grows
GROWTH = 4
#: no step is shorter than this
SHORTEST = 1e-9


class Rows(Protocol[P, S]):
    """Rows of a sample in memory, in the order of their hash."""

    def __len__(self) -> int: ...

    def first(self, n_rows: int) -> Rows[P, S]:
        """The first of them, themselves a sample."""

    def expect(self, parameters: P) -> S:
        """The statistics that parameters induce."""


@dataclass(frozen=True)
class Known(Record):
    """Parameters, and the statistics of all rows there."""

    parameters: Any
    statistics: Any

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.flatten()[1].values())


@dataclass(frozen=True)
class Step(Record):
    """A climb that a pass is to try."""

    length: float
    promised: float  # nats per unit of mass


@dataclass(frozen=True)
class Corrections(Record):
    """What corrected EM remembers of a fit."""

    n_rows: int  # of the sample
    known: tuple[Known, ...] = ()  # oldest first
    radius: float = RADIUS
    doubtful: bool = False  # whether the last surrogate was wrong
    steps: tuple[Step, ...] = ()  # of the proposal, the longest first
    grew: bool = False  # whether the pass brought a larger sample
    gain: float | None = None  # of the last pass, nats per unit of mass
    before: float | None = None  # of the pass before


@dataclass(frozen=True)
class CorrectedEM(Algorithm[P, S]):
    """EM whose passes correct a sample.

    Parameters
    ----------
    geometry : Geometry
    sample : callable
        Gives the first rows of the sample, as many as it is told.
    n_rows : int
        Rows of the first sample.
    most_rows : int
        To which it may grow.
    model : Maximizes
        Its M-step is what there is to fall back on.
    is_useless : callable
        Whether the model repaired components of parameters that no climb would mend: equal ones
        are a saddle, and empty ones its edge.
    is_usable : callable
        Whether a pass could evaluate parameters: on the edge of the domain it could not.
    effort : Effort
        Of each climb.
    """

    geometry: Geometry[P, S]
    sample: Callable[[int], Rows[P, S]]
    n_rows: int
    most_rows: int
    model: Maximizes[P, S]
    is_useless: Callable[[P], bool] = lambda _: False
    is_usable: Callable[[P], bool] = lambda _: True
    effort: Effort = field(default_factory=Effort)

    def begin(self) -> Record:
        return Corrections(self.n_rows)

    def propose(self, iterate: Iterate[P, S], memory: Record) -> Proposal[P]:
        assert isinstance(memory, Corrections)
        em = Candidate("em", self.model.maximize(iterate.statistics), sure=True)
        if self.is_useless(em.parameters):
            return Proposal((em,), Corrections(memory.n_rows))
        local = self._around(iterate, memory)
        if local is None:
            return Proposal((em,), Corrections(memory.n_rows))
        longest = local.climb(memory.radius, self.effort)
        doubtful = memory.doubtful or not longest.finished
        steps, candidates = [], []
        for length, found in self._ladder(local, longest, memory.radius, doubtful):
            if found.gain > 0 and self.is_usable(found.parameters):
                steps.append(Step(length, found.gain))
                candidates.append(Candidate("corrected", found.parameters))
        if doubtful or not candidates:
            candidates.append(em)
        slow = memory.gain is not None and longest.gain > SLOW * memory.gain
        grown = self._grown(memory.n_rows) if doubtful or slow else None
        gap = _gap(longest, memory)
        memory = replace(
            memory, steps=tuple(steps), n_rows=grown or memory.n_rows, grew=grown is not None
        )
        return Proposal(tuple(candidates), memory, gap, grown)

    def learned(
        self,
        memory: Record,
        before: Iterate[P, S],
        found: Sequence[Iterate[P, S]],
        gains: Sequence[float],
    ) -> Record:
        assert isinstance(memory, Corrections)
        afresh = Corrections(memory.n_rows, doubtful=True)
        if not memory.steps:  # an EM step that stood alone, perhaps to fewer components
            return afresh
        radius, doubtful = _trusted(memory, gains)
        if radius < SMALLEST_RADIUS:  # what was remembered leads astray
            return afresh
        known = list(memory.known)
        if not any(one.parameters.equals(before.parameters) for one in known):
            known.append(Known(before.parameters, before.statistics))
        for one, gain in zip(found, gains, strict=True):
            if isfinite(gain):
                known.append(Known(one.parameters, one.statistics))
        most = max(2, min(MEMORY, MEMORY_BYTES // known[-1].nbytes))
        best = max((gain for gain in gains if isfinite(gain)), default=0.0)
        return replace(
            memory,
            known=tuple(known[-most:]),
            radius=radius,
            doubtful=doubtful,
            gain=max(best, 0.0),
            before=memory.gain,
        )

    def gained(self, candidate: Iterate[P, S], iterate: Iterate[P, S]) -> float:
        # an M-step that regularizes maximizes a little else than the likelihood; what it can only
        # raise is the likelihood with its prior at the iterate's shares
        statistics = iterate.statistics
        prior = self.geometry.regularized(statistics) - statistics
        change = self.geometry.complete(candidate.parameters, prior)
        change -= self.geometry.complete(iterate.parameters, prior)
        return candidate.objective - iterate.objective + change / statistics.mass

    def _around(self, iterate: Iterate[P, S], memory: Corrections) -> Local[P, S] | None:
        try:
            return Local(self.geometry, self.sample(memory.n_rows), iterate, memory.known)
        except DegenerateError:
            return None

    def _ladder(
        self, local: Local[P, S], longest: Climbed[P], radius: float, doubtful: bool
    ) -> Iterator[tuple[float, Climbed[P]]]:
        """How long each climb of a pass is, and where it ended; shorter ones in doubt alone."""
        found, length = longest, radius
        for rung in range(LADDER if doubtful else 1):
            if rung:
                found = local.climb(length, self.effort)
            length = min(length, local.length(found.parameters))
            yield length, found
            length *= SHARE
            if length < SHORTEST:
                return

    def _grown(self, n_rows: int) -> int | None:
        """Rows of the sample that the next pass should bring, if there are more."""
        grown = min(GROWTH * n_rows, self.most_rows)
        return grown if grown > n_rows else None


def _trusted(memory: Corrections, gains: Sequence[float]) -> tuple[float, bool]:
    """The radius of the next climb, and whether the surrogate was wrong."""
    # after the climbs comes what is no climb
    ratios = [gain / step.promised for step, gain in zip(memory.steps, gains, strict=False)]
    right = [step for step, ratio in zip(memory.steps, ratios, strict=True) if ratio > RIGHT]
    longest, shortest = memory.steps[0], memory.steps[-1]
    if longest in right:
        radius = longest.length / SHARE
        if ratios[0] > VERY_RIGHT:
            radius = max(radius, memory.radius)
    elif right:
        radius = 2 * right[0].length
    else:
        radius = SHARE * shortest.length
    if memory.grew:  # what was learned of the smaller sample does not hold for this one
        return min(max(radius, memory.radius), RADIUS), False
    return min(radius, RADIUS), longest not in right


def _gap(found: Climbed[P], memory: Corrections) -> float:
    """Nats per row to the optimum; infinite where the surrogate has no top to tell it by."""
    if not found.finished:
        return inf
    gap = max(found.gain, 0.0)
    if memory.gain is None or gap <= SLOW * memory.gain:
        return gap
    # passes that gain little by little, on plateaus, gain more than each of them promises
    rest = remaining(memory.before, memory.gain)
    return max(gap, rest) if rest else gap / SLOW


class Local(Generic[P, S]):
    """The surrogate around an iterate, with what other places tell of its curvature.

    Raises
    ------
    DegenerateError
        If there are no coordinates around the iterate.
    """

    def __init__(
        self,
        geometry: Geometry[P, S],
        sample: Rows[P, S],
        iterate: Iterate[P, S],
        known: Sequence[Known],
    ) -> None:
        self._geometry, self._start = geometry, iterate.parameters
        self._surrogate = Surrogate.around(
            geometry, sample.expect, iterate.parameters, iterate.statistics
        )
        self._chart = geometry.chart(iterate.parameters)
        # of the iterate itself everything is known already
        others = [one for one in known if not one.parameters.equals(iterate.parameters)]
        self._secants = self._learned(others)

    def climb(self, radius: float, effort: Effort) -> Climbed[P]:
        """The top inside a radius."""
        trusted = Trusted(self._chart, radius, self._secants)
        return climb(self._surrogate, self._start, effort, trusted)

    def length(self, parameters: P) -> float:
        """The distance from the iterate."""
        return float(np.linalg.norm(self._chart.vector(parameters)))

    def _learned(self, known: Sequence[Known]) -> Secants:
        size = len(self._chart.vector(self._start))
        pairs = [pair for one in known if (pair := self._pair(one)) is not None]
        return Secants.through(size, pairs)

    def _pair(self, known: Known) -> tuple[Array, Array] | None:
        """The way to a place, and by how much the surrogate's slope is wrong there."""
        point = self._surrogate.at(known.parameters)
        slope = None if point is None else self._surrogate.slope(point, self._chart)
        if slope is None:
            return None
        try:
            move = self._chart.vector(known.parameters)
            statistics = self._geometry.regularized(known.statistics)
            true = self._chart.gradient(known.parameters, statistics) / statistics.mass
        except DegenerateError:
            return None
        steep = np.linalg.norm(true - slope) > STEEPEST * np.linalg.norm(move)
        return None if steep else (move, true - slope)
