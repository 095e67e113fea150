"""Algorithm: which parameters the next full pass tries.

A pass over all rows is what a fit pays for; what is done between passes, in memory, is not. An
algorithm is a pure function of the iterate and its own memory, so that a fit can go on from a
checkpoint bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from dask_em.core.em import Iterate
from dask_em.core.model import Maximizes
from dask_em.core.records import Parameters, Record, Statistics

__all__ = ["Algorithm", "Candidate", "PlainEM", "Proposal", "remaining"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


@dataclass(frozen=True)
class Candidate(Generic[P]):
    """Parameters that a pass may try."""

    step: str  # how they were found, for the history
    parameters: P
    sure: bool = False  # whether theory says that they are no worse: taken whatever the pass says


@dataclass(frozen=True)
class Proposal(Generic[P]):
    """What to do with an iterate.

    Parameters
    ----------
    candidates : tuple of Candidate
        One pass evaluates them all; the best goes on.
    memory : Record
        What the algorithm wants back with the next iterate.
    gap : float or None
        Estimated nats per row between the iterate and its optimum; None where nothing estimates
        it, and infinite where the estimate failed.
    sample_rows : int or None
        Rows of a larger sample that the pass should bring along.
    conclusion : Parameters or None
        What a fit that ends here ends with, no worse than what an M-step would make of the iterate,
        and what `gap` is of; None where that is the M-step's.
    """

    candidates: tuple[Candidate[P], ...]
    memory: Record
    gap: float | None = None
    sample_rows: int | None = None
    conclusion: P | None = None


class Algorithm(ABC, Generic[P, S]):
    """Decides what the next pass tries, and keeps no state."""

    @abstractmethod
    def begin(self) -> Record:
        """The memory with which a fit starts."""

    def begun(self, memory: Record, found: Sequence[Iterate[P, S]]) -> Record:
        """The memory after the pass at the starts, each with the statistics that it found."""
        return memory

    @abstractmethod
    def propose(self, iterate: Iterate[P, S], memory: Record) -> Proposal[P]:
        """What the next pass should try after an iterate."""

    def gained(self, candidate: Iterate[P, S], iterate: Iterate[P, S]) -> float:
        """How much better a candidate is than the iterate, nats per unit of mass."""
        return candidate.objective - iterate.objective

    def eligible(self, found: Sequence[Iterate[P, S]]) -> Sequence[Iterate[P, S]]:
        """The first of the candidates: those that a fit may go on with.

        Others are evaluated for what they teach.
        """
        return found

    def learned(
        self,
        memory: Record,
        before: Iterate[P, S],
        found: Sequence[Iterate[P, S]],
        gains: Sequence[float],
    ) -> Record:
        """The memory after a pass.

        Parameters
        ----------
        memory : Record
            Of the proposal.
        before : Iterate
            What the proposal was made for.
        found : sequence of Iterate
            Each candidate with the statistics that the pass found.
        gains : sequence of float
            What `gained` says of each; not finite where a candidate cannot be evaluated.
        """
        return memory


@dataclass(frozen=True)
class Climb(Record):
    """What plain EM remembers: its last objective and gain, nats per unit of mass."""

    objective: float | None = None
    gain: float | None = None


@dataclass(frozen=True)
class PlainEM(Algorithm[P, S]):
    """The textbook's: the M-step of the last pass, and nothing else.

    The gap is what a geometric series of gains has left (Aitken; Boehning et al., 1994).
    """

    model: Maximizes[P, S]

    def begin(self) -> Record:
        return Climb()

    def propose(self, iterate: Iterate[P, S], memory: Record) -> Proposal[P]:
        assert isinstance(memory, Climb)
        step = Candidate("em", self.model.maximize(iterate.statistics), sure=True)
        objective, before = iterate.objective, memory.objective
        gain = None if before is None else objective - before
        return Proposal((step,), Climb(objective, gain), remaining(memory.gain, gain))


def remaining(before: float | None, gain: float | None) -> float | None:
    """The sum of all gains to come, if each is to the next as these two are."""
    if before is None or gain is None or not 0 <= gain < before:
        return None
    return gain * gain / (before - gain)
