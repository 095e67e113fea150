"""Mean and variance of each feature, from blocks that are merged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array, Record

__all__ = ["FeatureMoments"]

#: rows that are converted to float64 at a time
PART_ROWS = 1 << 14


@dataclass(frozen=True)
class FeatureMoments(Record):
    """What is known of each feature, where it is observed; two of them merge.

    Squares are summed about the mean of what was merged so far, not about zero or a guess, so that
    no digits are lost wherever the values lie (Chan, Golub and LeVeque, 1979).
    """

    mass: Array  # (d,) sum of the weights of the rows that observe it
    mean: Array  # (d,) their weighted mean; 0 where none does
    squares: Array  # (d,) weighted sum of squares about that mean

    @classmethod
    def of(cls, block: Block) -> FeatureMoments:
        """Of the rows of a block; NaN is left out."""
        total = cls(*np.zeros((3, block.n_features)))
        for start in range(0, len(block), PART_ROWS):
            total = total + cls._of_part(block.take(slice(start, start + PART_ROWS)))
        return total

    @classmethod
    def _of_part(cls, block: Block) -> FeatureMoments:
        values = block.values.astype(np.float64)
        weights = np.ones(len(block)) if block.weights is None else block.weights
        observed = ~np.isnan(values)
        values[~observed] = 0.0
        mass = weights @ observed
        mean = (weights @ values) / np.where(mass > 0, mass, 1.0)
        values -= mean
        values[~observed] = 0.0
        # what rounding left in the mean
        rest = (weights @ values) / np.where(mass > 0, mass, 1.0)
        values *= values
        return cls(mass, mean + rest, np.maximum(weights @ values - mass * rest**2, 0.0))

    def __add__(self, other: FeatureMoments) -> FeatureMoments:
        mass = self.mass + other.mass
        share = other.mass / np.where(mass > 0, mass, 1.0)
        apart = other.mean - self.mean
        mean = np.where(self.mass > 0, self.mean + share * apart, other.mean)
        between = np.where((self.mass > 0) & (other.mass > 0), apart**2 * self.mass * share, 0.0)
        return FeatureMoments(mass, mean, self.squares + other.squares + between)

    @property
    def deviation(self) -> Array:
        """(d,) standard deviations, divided by the mass; 0 where nothing is observed."""
        return np.asarray(np.sqrt(self.squares / np.where(self.mass > 0, self.mass, 1.0)))
