"""The floor under the noise variance: without one, data of low rank have no likelihood."""

from __future__ import annotations

from dataclasses import dataclass

from dask_em.core.model import Repair
from dask_em.core.records import Record
from dask_em.errors import DegenerateError, InputError

__all__ = ["NoiseFloor"]


@dataclass(frozen=True)
class NoiseFloor(Record):
    """The smallest noise variance that a fit may have.

    Where the latent dimensions explain all of the data (as many of them as rows less one, copied
    features), the likelihood grows without bound as the noise goes to zero.

    Parameters
    ----------
    relative : float
        Smallest noise variance, as a fraction of the variance of the data averaged over features.
        Far below the default, sums of squares have too few digits left to see an ascent.
    degenerate : {"repair", "raise"}
        Whether a noise variance below the floor is lifted to it, or an error.
    """

    relative: float = 1e-10
    degenerate: str = "repair"

    def __post_init__(self) -> None:
        if self.degenerate not in ("repair", "raise"):
            raise InputError(f'degenerate={self.degenerate!r}; it must be "repair" or "raise"')
        if not 0 < self.relative < 1:
            raise InputError(f"relative={self.relative}; it must be above 0 and below 1")

    def apply(self, noise: float, variance: float) -> tuple[float, tuple[Repair, ...]]:
        """The noise variance to go on with, and what had to be repaired.

        Parameters
        ----------
        noise : float
            As estimated; rounding may have made it negative.
        variance : float
            Of the data, averaged over features, in the same units.

        Raises
        ------
        DegenerateError
            If the data do not vary at all, or the noise is below the floor and that is an error.
        """
        if not (variance > 0 or variance == 0):
            raise DegenerateError(
                f"the variance of the data is {variance:.3g}: sums of squares have no digits left; "
                "give rows nearer to zero, beside their spread, or as float64"
            )
        if variance == 0:
            raise DegenerateError(
                "the variance of the data is 0: all rows are equal, and there is nothing to "
                "reduce; give rows that differ"
            )
        limit = self.relative * variance
        if noise >= limit:
            return noise, ()
        if self.degenerate == "raise":
            raise DegenerateError(
                f"the noise variance is {noise / variance:.2g} of the variance of the data, below "
                f"the floor of {self.relative:g}: the latent dimensions explain nearly all of it; "
                'use fewer of them, bring the features to one scale, or use degenerate="repair"'
            )
        return limit, (Repair("singular", None, None, "noise variance lifted to its floor"),)
