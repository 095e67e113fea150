"""Select: some features, in another order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np

from dask_em.core.records import Array
from dask_em.errors import SchemaError
from dask_em.mapping.features import Features, chosen
from dask_em.mapping.step import MappingStep

__all__ = ["Select"]


@final
@dataclass(frozen=True)
class Select(MappingStep):
    """Take some features, in the order in which they are named.

    Parameters
    ----------
    features : sequence of str or int
    columns : tuple of int, optional
        Where they lie, as a fit has found it, among so many:
    n_before : int, optional
    """

    features: Any
    columns: tuple[int, ...] | None = None
    n_before: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", chosen(self.features))
        if not self.features:
            raise SchemaError("Select names no feature; name one or more")

    def bound(self, features: Features) -> Self:
        columns = features.columns(self.features, "Select")
        return replace(self, columns=columns, n_before=features.n)

    def after(self, features: Features) -> Features:
        assert self.columns is not None
        return features.take(self.columns)

    def apply(self, values: Array, rows: slice) -> Array:
        return np.take(values, self._indices(), axis=1)

    def undo(self, values: Array, rows: slice) -> Array:
        assert self.n_before is not None
        whole = np.full((len(values), self.n_before), np.nan)
        whole[:, self._indices()] = values
        return whole

    def undo_deviation(self, values: Array) -> Array:
        return self.undo(values, slice(0, len(values)))

    def _indices(self) -> list[int]:
        assert self.columns is not None
        return list(self.columns)
