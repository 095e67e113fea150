"""Block Krylov steps for models whose optimum is made of leading eigenvectors.

Every pass multiplies a block of directions with a matrix A that nothing holds. In the span of all
of them A is known, and with it the best parameters there (Rayleigh and Ritz): no pass is needed to
find them. The residuals of the Ritz vectors are the directions of the next pass, as in the methods
of Lanczos and Davidson, and where too many have gathered the leading Ritz vectors stand for all
(Wu and Simon, 2000). A block wider than the number of vectors that are wanted converges as fast as
the gap behind the whole block is wide (Musco and Musco, 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Generic

import numpy as np

from dask_em.core.algorithm import Algorithm, Candidate, Proposal
from dask_em.core.em import Iterate
from dask_em.core.records import Record
from dask_em.core.span import Ritz, Span
from dask_em.core.spectral import P, S, Spectral

__all__ = ["Krylov", "KrylovEM", "ascended"]

#: directions of a block for each vector that is wanted
WIDTH = 2
#: blocks that are remembered, unless they take more bytes than this; three at least
BLOCKS, MOST_BYTES = 8, 256 << 20
#: a gain is thought to be followed by others, each at most this share of the one before
SLOWEST = 0.9


@dataclass(frozen=True)
class Krylov(Record):
    """What is known of the matrix, and what was expected of the last pass."""

    span: Span | None = None
    objective: float | None = None  # of the best parameters in the span before, nats
    gain: float | None = None  # that their residuals promised


@dataclass(frozen=True)
class KrylovEM(Algorithm[P, S]):
    """The best parameters in the span of all directions that were multiplied, and new directions.

    A pass evaluates the parameters, which are no worse than those before as these lie in the span,
    and multiplies the directions. The fit ends with the best parameters in the span that its last
    pass widened, and the gap is that of these.
    """

    spectral: Spectral[P, S]

    def begin(self) -> Record:
        return Krylov()

    def begun(self, memory: Record, found: Sequence[Iterate[P, S]]) -> Record:
        assert isinstance(memory, Krylov)
        return replace(memory, span=self._widened(memory.span, found))

    def eligible(self, found: Sequence[Iterate[P, S]]) -> Sequence[Iterate[P, S]]:
        # directions may be more than the model has, and more likely than its optimum then
        return found[:1]

    def learned(
        self,
        memory: Record,
        before: Iterate[P, S],
        found: Sequence[Iterate[P, S]],
        gains: Sequence[float],
    ) -> Record:
        assert isinstance(memory, Krylov)
        good = [one for one, gain in zip(found, gains, strict=True) if np.isfinite(gain)]
        return replace(memory, span=self._widened(memory.span, good))

    def propose(self, iterate: Iterate[P, S], memory: Record) -> Proposal[P]:
        assert isinstance(memory, Krylov)
        statistics = iterate.statistics
        assert memory.span is not None
        step = _Step(self.spectral, memory.span.ritz(), statistics)
        candidates = [Candidate("ritz", step.parameters, sure=True)]
        if step.directions.shape[1]:
            probe = self.spectral.probe(step.directions, statistics)
            candidates.append(Candidate("directions", probe))
        kept = Krylov(step.remembered(), step.objective, step.gain)
        gap = step.gap(memory.objective, memory.gain)
        return Proposal(tuple(candidates), kept, gap, conclusion=step.parameters)

    def _widened(self, span: Span | None, found: Sequence[Iterate[P, S]]) -> Span:
        for one in found:
            directions, images = self.spectral.products(one.statistics)
            span = (span or Span.empty(len(directions))).widened(directions, images)
        assert span is not None
        return span


class _Step(Generic[P, S]):
    """What follows from the Ritz vectors of a span."""

    def __init__(self, spectral: Spectral[P, S], ritz: Ritz, statistics: S) -> None:
        q = spectral.n_leading
        self.ritz, self.width = ritz, min(WIDTH * q, ritz.span.m)
        self.parameters = spectral.optimum(ritz.values, ritz.vectors(q), statistics)
        residuals = ritz.residuals(self.width)
        self.directions = ritz.outward(residuals)
        lengths = np.linalg.norm(residuals[:, :q], axis=0)
        self.objective = spectral.objective(ritz.values, statistics)
        self.gain = spectral.gain(ritz.values[:q], lengths, statistics)

    def gap(self, objective: float | None, promised: float | None) -> float:
        """Nats per unit of mass from the best in the span to the optimum.

        What the residuals promise, corrected by how much more the last pass gained than they had
        promised then, and by what is to follow where promises fall slowly. Residuals alone tell
        nothing of directions that no pass has touched, so a first promise is none.
        """
        if not self.directions.shape[1]:
            return 0.0
        if objective is None or not promised:
            return inf
        short = max(1.0, (self.objective - objective) / promised)
        return short * self.gain / (1 - min(SLOWEST, self.gain / promised))

    def remembered(self) -> Span:
        """The span, or that of its leading vectors where it is too wide."""
        span, block = self.ritz.span, self.width
        most = max(3 * block, min(BLOCKS * block, MOST_BYTES // (16 * len(span.basis))))
        if span.m + block <= most:
            return span
        return self.ritz.kept(min(span.m, most - block))


def ascended(
    spectral: Spectral[P, S], expect: Callable[[P], S], start: P, gap: float, most: int
) -> tuple[P, Span]:
    """The optimum of rows in memory, by at most so many readings of them.

    Parameters
    ----------
    spectral : Spectral
    expect : callable
        The statistics that parameters induce.
    start : Parameters
        Their statistics hold the images of the first block of directions.
    gap : float
        How near the optimum is enough, nats per unit of mass.
    most : int
        Readings.
    """
    algorithm = KrylovEM(spectral)
    iterate = Iterate(start, expect(start))
    memory = algorithm.begun(algorithm.begin(), [iterate])
    for _ in range(1, most):
        proposal = algorithm.propose(iterate, memory)
        if proposal.gap is not None and proposal.gap < gap:
            break
        probe = proposal.candidates[-1].parameters
        iterate = Iterate(probe, expect(probe))
        memory = algorithm.learned(proposal.memory, iterate, [iterate], [0.0])
    proposal = algorithm.propose(iterate, memory)
    assert isinstance(memory, Krylov)
    assert memory.span is not None
    assert proposal.conclusion is not None
    return proposal.conclusion, memory.span
