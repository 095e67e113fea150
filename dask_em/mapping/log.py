"""Log: the natural logarithm of some features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np

from dask_em.core.records import Array
from dask_em.errors import InputError
from dask_em.mapping.features import Features, chosen
from dask_em.mapping.step import MappingStep

__all__ = ["Log"]


@final
@dataclass(frozen=True)
class Log(MappingStep):
    """Take the natural logarithm of some features.

    What is not above 0 has none and becomes NaN; the policy on missing values then decides:
    ``missing="error"`` refuses, and says how many there are, "drop" leaves the rows out, and
    "model" takes them as not observed.

    Parameters
    ----------
    features : sequence of str or int
    offset : float
        Added before, in units of the data: ``log(x + offset)``.
    columns : tuple of int, optional
        Where they lie, as a fit has found it.
    """

    features: Any
    offset: float = 0.0
    columns: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", chosen(self.features))
        if not np.isfinite(self.offset):
            raise InputError(f"Log has offset={self.offset}; it must be finite")

    def bound(self, features: Features) -> Self:
        return replace(self, columns=features.columns(self.features, "Log"))

    def after(self, features: Features) -> Features:
        assert self.columns is not None
        unit = f"log({{}} + {self.offset:g})" if self.offset else "log({})"
        return features.measured_in(self.columns, unit)

    def apply(self, values: Array, rows: slice) -> Array:
        assert self.columns is not None
        for column in self.columns:
            one = values[:, column]
            if self.offset:
                one += self.offset
            one[one <= 0] = np.nan
            np.log(one, out=one)
        return values

    def undo(self, values: Array, rows: slice) -> Array:
        assert self.columns is not None
        for column in self.columns:
            one = values[:, column]
            np.exp(one, out=one)
            one -= self.offset
        return values

    def undo_deviation(self, values: Array) -> Array:
        raise InputError(
            "the standard deviation of a logarithm is a factor, not one of the data; call fill "
            "without return_std"
        )

    @property
    def lossy(self) -> tuple[int, ...]:
        return self.columns or ()

    def lost(self, counts: Array) -> str:
        found = zip(self.features, counts.tolist(), strict=True)
        told = ", ".join(f"{count:,} of {name}" for name, count in found if count)
        return f"Log has no value for {told}, which are not above {0.0 - self.offset:g}"
