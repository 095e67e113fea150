"""Frame: the affine map that rows go through before they are squared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from dask_em.core.records import Array, Record

__all__ = ["Frame", "mean_and_spread"]


@dataclass(frozen=True)
class Frame(Record):
    """``y = (x - shift) / scale``.

    Squares lose the digits that data far from zero share, so rows are centred and scaled first.
    Any nearby shift and scale serve; these are chosen so that the map is exact: shifts that
    float32 can hold where one is near, scales that are powers of two.
    """

    shift: Array  # (d,) units of the data
    scale: Array  # (d,) units of the data

    @classmethod
    def around(cls, mean: Array, spread: Array, isotropic: bool = False) -> Self:
        """The frame near a mean (d,) and a standard deviation (d,).

        With `isotropic` all features share the largest scale.
        """
        spread = np.asarray(spread, dtype=np.float64)
        usable = np.isfinite(spread) & (spread > 0)
        if isotropic:
            spread = np.full_like(spread, spread[usable].max() if usable.any() else 1.0)
        else:
            spread = np.where(usable, spread, 1.0)
        exponent = np.clip(np.round(np.log2(spread)), -500, 500)
        scale = np.exp2(exponent)
        with np.errstate(over="ignore", invalid="ignore"):
            shift = np.asarray(mean, dtype=np.float32).astype(np.float64)
            near = np.abs(shift - mean) < scale
        return cls(np.where(near, shift, mean), scale)

    @classmethod
    def plain(cls, d: int) -> Self:
        """The frame that leaves rows as they are."""
        return cls(np.zeros(d), np.ones(d))

    @property
    def is_plain(self) -> bool:
        """Whether rows are left as they are."""
        return not self.shift.any() and bool((self.scale == 1).all())

    @classmethod
    def of_rows(cls, values: Array, weights: Array | None, isotropic: bool = False) -> Self:
        """The frame of rows (n, d) with weights (n,), at least one of which is positive."""
        return cls.around(*mean_and_spread(values, weights), isotropic)

    def inward(self, values: Array) -> Array:
        """Rows (n, d) in the frame."""
        return np.asarray((values - self.shift) / self.scale)

    def outward(self, values: Array) -> Array:
        """Rows (n, d) of the frame in the units of the data."""
        return np.asarray(values * self.scale + self.shift)

    @property
    def log_volume(self) -> float:
        """Nats per row that the scaling adds to a log-density."""
        return float(-np.log(self.scale).sum())


def mean_and_spread(values: Array, weights: Array | None) -> tuple[Array, Array]:
    """Mean (d,) and standard deviation (d,) of rows (n, d) with weights (n,).

    A constant has a spread of exactly 0, not the rounding error of its mean.
    """
    mean = np.average(values, axis=0, weights=weights)
    mean = mean + np.average(values - mean, axis=0, weights=weights)
    spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    return mean, np.where(spread > 8 * np.finfo(float).eps * np.abs(mean), spread, 0.0)
