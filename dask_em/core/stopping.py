"""When to stop, and what to tell the user about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import isfinite

from dask_em.errors import InputError

__all__ = ["Outcome", "Stopping"]


#: where nobody knows the distance to the optimum, so many passes like the last must not go it
PASSES_AHEAD = 10


class Outcome(Enum):
    """How a fit ended. The value is the advice."""

    CONVERGED = "converged"
    ITERATION_LIMIT = (
        "the iteration limit was reached before the gain fell below the tolerance; raise max_iter, "
        "raise tol, or go on from here (warm_start=True, or the same checkpoint)"
    )
    STALLED = (
        "passes gain next to nothing, but how far the optimum is cannot be told: the sample says "
        "too little of the data there; raise init_sample, or continue with algorithm='em'"
    )
    DESCENDED = (
        "the log-likelihood fell by more than rounding can explain; rows changed under the fit, or "
        "the model's maximize does not maximize"
    )

    @property
    def advice(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Stopping:
    """Stop when the objective changes by less than `tol`, or after `max_iter` passes.

    Parameters
    ----------
    tol : float
        Nats per row. The change between two passes must be strictly below it.
    max_iter : int
        Passes over the data.
    tol_gap : float, optional
        Nats per row. Where the distance to the optimum is estimated, the estimate must be strictly
        below it, and `tol` does not matter: a small change may be a slow one. Elsewhere ten times
        the change must be below both.
    """

    tol: float = 1e-3
    max_iter: int = 100
    tol_gap: float | None = None

    def __post_init__(self) -> None:
        if not self.tol >= 0:
            raise InputError(f"tol={self.tol}; it must be 0 or more nats per row")
        if not self.max_iter >= 0:
            raise InputError(f"max_iter={self.max_iter}; it must be 0 or more passes")
        if self.tol_gap is not None and not self.tol_gap >= 0:
            raise InputError(f"tol_gap={self.tol_gap}; it must be 0 or more nats per row")

    def judge(
        self,
        previous: float,
        objective: float,
        n_passes: int,
        monotone: bool = False,
        gap: float | None = None,
    ) -> Outcome | None:
        """The outcome if the fit ends here, otherwise None.

        Parameters
        ----------
        previous, objective : float
            Nats per row before and after the last M-step; -inf before the first.
        n_passes : int
            Passes made so far.
        monotone : bool
            Whether the M-step between the two can only raise the objective.
        gap : float, optional
            Estimated nats per row from here to the optimum; None where nothing estimates it, and
            infinite where the estimate failed.
        """
        gain = objective - previous
        if self._near(gain, gap):
            return Outcome.CONVERGED if gap is None or isfinite(gap) else Outcome.STALLED
        if monotone and gain < -1e-8 * max(1.0, abs(objective)):
            return Outcome.DESCENDED
        return Outcome.ITERATION_LIMIT if n_passes >= self.max_iter else None

    def _near(self, gain: float, gap: float | None) -> bool:
        if self.tol_gap is None:
            return abs(gain) < self.tol
        if gap is not None and isfinite(gap):
            return gap < self.tol_gap
        return PASSES_AHEAD * abs(gain) < min(self.tol, self.tol_gap)
