"""Features: what is known of the columns of rows, before and after a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dask_em.core.names import nearest
from dask_em.core.records import Array
from dask_em.errors import SchemaError

__all__ = ["Chosen", "Features", "chosen"]

#: features by their names, or by their numbers where they have none
Chosen: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class Features:
    """How many features there are, their names and units."""

    n: int
    names: tuple[str, ...] | None = None
    units: tuple[str | None, ...] | None = None

    def columns(self, wanted: Chosen, step: str) -> tuple[int, ...]:
        """The columns of some features, in their order.

        Raises
        ------
        SchemaError
            If there is no such feature, or one is wanted twice; `step` names who wants it.
        """
        found = tuple(self._column(one, step) for one in wanted)
        twice = [one for one, column in zip(wanted, found, strict=True) if found.count(column) > 1]
        if twice:
            raise SchemaError(f"{step} names the feature {twice[0]!r} twice; name it once")
        return found

    def _column(self, wanted: str | int, step: str) -> int:
        if isinstance(wanted, int):
            if 0 <= wanted < self.n:
                return wanted
            raise SchemaError(f"{step} wants feature {wanted}, but there are 0 to {self.n - 1}")
        if self.names is None:
            raise SchemaError(
                f"{step} wants the feature {wanted!r}, but these rows do not know the names of "
                f"their {self.n} features; give its number, 0 to {self.n - 1}"
            )
        if wanted not in self.names:
            raise SchemaError(
                f"{step} wants the feature {wanted!r}, which is not there; "
                + nearest(wanted, self.names)
            )
        return self.names.index(wanted)

    @property
    def labels(self) -> list[str]:
        """Names, or numbers where there are none, with units: ``temperature (degC)``."""
        names = self.names or tuple(map(str, range(self.n)))
        units = self.units or (None,) * self.n
        pairs = zip(names, units, strict=True)
        return [name if unit is None else f"{name} ({unit})" for name, unit in pairs]

    def take(self, columns: Sequence[int]) -> Features:
        """Some of them, in another order."""
        names = None if self.names is None else tuple(self.names[one] for one in columns)
        units = None if self.units is None else tuple(self.units[one] for one in columns)
        return Features(len(columns), names, units)

    def measured_in(self, columns: Sequence[int] | Array, unit: str | None) -> Features:
        """The same features, some of them in a unit; ``{}`` in it stands for that before."""
        if self.units is None:
            return self
        units = list(self.units)
        for column in np.asarray(columns, dtype=int):
            before = units[column]
            if unit is None or "{}" not in unit:
                units[column] = unit
            else:
                units[column] = None if before is None else unit.format(before)
        return Features(self.n, self.names, tuple(units))


def chosen(features: str | int | Sequence[str | int] | None) -> Chosen | None:
    """One or several features, as they were written."""
    if features is None:
        return None
    if isinstance(features, str | int | np.integer):
        features = [features]
    return tuple(one if isinstance(one, str) else int(one) for one in features)
