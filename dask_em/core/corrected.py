"""Corrected EM: full passes correct a sample that stands for them in memory.

Between two passes the sample, corrected by what the last pass found it to get wrong, is climbed to
its top, see `core.surrogate` and `core.climb`. The error contracts at each pass by the relative
error of the sample's curvature, however much the components overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Protocol, TypeVar

from dask_em.core.algorithm import Algorithm, Candidate, Proposal
from dask_em.core.anderson import extrapolated
from dask_em.core.climb import Climbed, Effort, climb
from dask_em.core.em import Iterate
from dask_em.core.geometry import Chart, Geometry
from dask_em.core.model import Maximizes
from dask_em.core.records import Array, Parameters, Record, Statistics
from dask_em.core.surrogate import Surrogate
from dask_em.errors import DegenerateError

__all__ = ["CorrectedEM", "Corrections", "Pair", "Rows", "optimum"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: outer steps that the extrapolation looks back on
MEMORY = 6
#: the surrogate is damped until it is defined, at most so much
FIRST_DAMPING, LARGEST_DAMPING = 0.1, 20.0
#: a surrogate that promises more than this share of what the last one did contracts slowly
SLOW = 0.05
STRETCHES = (2.0, 4.0)
#: levels of a sample grow by this factor
GROWTH = 4
#: rows for each free parameter of the smallest of them
ROWS_PER_PARAMETER = 20


class Rows(Protocol[P, S]):
    """Rows of a sample in memory, in the order of their hash."""

    def __len__(self) -> int: ...

    def first(self, n_rows: int) -> Rows[P, S]:
        """The first of them, themselves a sample."""

    def expect(self, parameters: P) -> S:
        """The statistics that parameters induce."""


@dataclass(frozen=True)
class Pair(Record):
    """Parameters, and the top of the surrogate around them."""

    point: Any
    image: Any


@dataclass(frozen=True)
class Corrections(Record):
    """What corrected EM remembers of a fit."""

    pairs: tuple[Pair, ...] = ()
    gain: float | None = None  # that the last surrogate promised, nats per row
    damping: float = 0.0
    rejected: bool = False  # whether the last pass found nothing better


@dataclass(frozen=True)
class CorrectedEM(Algorithm[P, S]):
    """EM whose passes correct a sample.

    Parameters
    ----------
    geometry : Geometry
    sample : Rows
    model : Maximizes
        Its M-step is what there is to fall back on.
    is_useless : callable
        Whether the model repaired components of parameters that no climb would mend: equal ones
        are a saddle, and empty ones its edge.
    effort : Effort
        Of each climb.
    """

    geometry: Geometry[P, S]
    sample: Rows[P, S]
    model: Maximizes[P, S]
    is_useless: Callable[[P], bool] = lambda _: False
    effort: Effort = field(default_factory=Effort)

    def begin(self) -> Record:
        return Corrections()

    def propose(self, iterate: Iterate[P, S], memory: Record) -> Proposal[P]:
        assert isinstance(memory, Corrections)
        if memory.rejected:
            step = self._em(iterate, "fallback")
            return Proposal((step,), replace(memory, rejected=False))
        em = self._em(iterate, "em")
        if self.is_useless(em.parameters):
            return Proposal((em,), Corrections())
        found, damping = self._top(iterate, memory.damping)
        pairs = (*memory.pairs, Pair(iterate.parameters, found.parameters))[-MEMORY - 1 :]
        candidates = [Candidate("corrected", found.parameters)]
        candidates += self._further(iterate.parameters, pairs)
        if memory.gain is not None and found.gain > SLOW * memory.gain:
            candidates += self._stretched(iterate.parameters, found.parameters)
        candidates = [one for one in candidates if _usable(self.sample, one.parameters)]
        if damping or not found.gain > 0 or not candidates:
            candidates.append(em)
        left = damping / 3 if damping > 0.05 else 0.0
        gain = max(found.gain, 0.0)
        # what a damped or an unfinished climb promises is a bound from below
        gap = gain if found.finished and not damping else None
        return Proposal(tuple(candidates), Corrections(pairs, gain, left), gap)

    def gained(self, candidate: Iterate[P, S], iterate: Iterate[P, S]) -> float:
        # an M-step that regularizes maximizes a little else than the likelihood; what it can only
        # raise is the likelihood with its prior at the iterate's shares
        statistics = iterate.statistics
        prior = self.geometry.regularized(statistics) - statistics
        change = self.geometry.complete(candidate.parameters, prior)
        change -= self.geometry.complete(iterate.parameters, prior)
        return candidate.objective - iterate.objective + change / statistics.mass

    def rejected(self, memory: Record) -> Record:
        assert isinstance(memory, Corrections)
        damping = max(FIRST_DAMPING, 3 * memory.damping)
        return replace(memory, pairs=(), damping=damping, rejected=True)

    def _em(self, iterate: Iterate[P, S], step: str) -> Candidate[P]:
        return Candidate(step, self.model.maximize(iterate.statistics), sure=True)

    def _top(self, iterate: Iterate[P, S], damping: float) -> tuple[Climbed[P], float]:
        """The top of the surrogate around an iterate, and how much it had to be damped."""
        surrogate = Surrogate.around(
            self.geometry, self.sample.expect, iterate.parameters, iterate.statistics
        )
        while True:
            found = climb(replace(surrogate, damping=damping), iterate.parameters, self.effort)
            if found.inside or found.evaluations <= 1 or damping > LARGEST_DAMPING:
                return found, damping
            damping = max(FIRST_DAMPING, 3 * damping)

    def _further(self, reference: P, pairs: Sequence[Pair]) -> list[Candidate[P]]:
        """Where the steps so far lead, taken for those of a linear map."""
        chart = self.geometry.chart(reference)
        points = [chart.vector(pair.point) for pair in pairs]
        vector = extrapolated(points, [chart.vector(pair.image) for pair in pairs])
        return [] if vector is None else _candidates("extrapolated", chart, [vector])

    def _stretched(self, reference: P, top: P) -> list[Candidate[P]]:
        """Longer steps: on a plateau the sample bends more than all rows do."""
        chart = self.geometry.chart(reference)
        step = chart.vector(top)
        return _candidates("stretched", chart, [factor * step for factor in STRETCHES])


def _candidates(step: str, chart: Chart[P, S], vectors: Sequence[Array]) -> list[Candidate[P]]:
    found = []
    for vector in vectors:
        with suppress(DegenerateError):
            found.append(Candidate(step, chart.parameters(vector)))
    return found


def _usable(sample: Rows[P, S], parameters: P) -> bool:
    """Whether a pass could evaluate parameters: on the edge of the domain it could not."""
    try:
        return isfinite(sample.first(1).expect(parameters).log_likelihood)
    except DegenerateError:
        return False


def optimum(
    geometry: Geometry[P, S],
    sample: Rows[P, S],
    starts: Sequence[P],
    n_free: int,
) -> Climbed[P]:
    """The best optimum of a sample that some starts lead to, by way of samples of the sample.

    At each level the better half of the starts goes on, climbed to a share of the level's
    statistical error. A start that is the only one is also climbed from on the whole sample: small
    samples lead past plateaus, but also out of a basin that is the better one.

    Raises
    ------
    DegenerateError
        If no start is a place to climb from.
    """
    levels = [len(sample)]
    while levels[0] // GROWTH >= ROWS_PER_PARAMETER * n_free:
        levels.insert(0, levels[0] // GROWTH)
    found = [Climbed(start, 0.0, 0, True) for start in starts if _usable(sample, start)]
    if not found:
        raise DegenerateError(
            f"none of {len(starts)} starts can be evaluated on the sample; use fewer components or "
            "another start"
        )
    for level, n_rows in enumerate(levels):
        rows = sample if n_rows == len(sample) else sample.first(n_rows)
        if level:
            # more rows than they were fitted to tell which of them is the better
            found = _better_half(rows, found)
        if len(starts) == 1 < len(levels) == level + 1:
            found.append(Climbed(starts[0], 0.0, 0, True))
        share = 0.1 if n_rows < len(sample) else 0.01
        effort = Effort(1e-12, share * n_free / (2 * n_rows), 800, em_steps=15)
        found = [_climbed(geometry, rows, one.parameters, effort) for one in found]
    usable = [one for one in found if _usable(sample, one.parameters)]
    return max(usable or found, key=lambda one: _objective(sample, one))


def _objective(rows: Rows[P, S], found: Climbed[P]) -> float:
    statistics = rows.expect(found.parameters)
    return statistics.log_likelihood / statistics.mass


def _better_half(rows: Rows[P, S], found: Sequence[Climbed[P]]) -> list[Climbed[P]]:
    """In the order of their likelihood, the first of equals first."""
    ranked = sorted(found, key=lambda one: -_objective(rows, one))
    return ranked[: -(-len(ranked) // 2)]


def _climbed(geometry: Geometry[P, S], rows: Rows[P, S], start: P, effort: Effort) -> Climbed[P]:
    surrogate = Surrogate.around(geometry, rows.expect, start, rows.expect(start))
    return climb(surrogate, start, effort)
