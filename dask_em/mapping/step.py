"""MappingStep: one thing that is done to rows; Applied: the same, where rows lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np

from dask_em.core.moments import FeatureMoments
from dask_em.core.names import abridged
from dask_em.core.records import Array, Record
from dask_em.mapping.features import Features

if TYPE_CHECKING:
    from dask_em.mapping.groups import Groups

__all__ = ["Applied", "MappingStep", "Region", "Samples", "Unchanged"]

#: one slice per sample axis, with known start and stop
Region: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True)
class Samples:
    """The sample axes of one source.

    Parameters
    ----------
    shape : tuple of int
    dims : tuple of str, or None
        Names of the axes.
    coordinates : callable
        Reads what lies along them: values with `dims`, `values` and `attributes`, by name.
    describe : str
        The source, in the words of an error message.
    groups : Groups, optional
        To which group each sample belongs, where that was given.
    """

    shape: tuple[int, ...]
    dims: tuple[str, ...] | None
    coordinates: Callable[[], Mapping[str, Any]]
    describe: str
    groups: Groups | None = None


class Applied(ABC):
    """What is done to rows, with all that it needs to know of where these lie.

    Parts of rows are float64 and nobody else's, so that they may be changed in place. What is done
    to a row does not depend on the others.
    """

    def cut(self, region: Region) -> Applied:
        """The same for rows within a region, without what others need; small and picklable."""
        return self

    def at(self, region: Region | None) -> Applied:
        """The same for the rows of one chunk."""
        return self

    def kept(self) -> Array | None:
        """(n,) which rows of a chunk are wanted; None for all."""
        return None

    @abstractmethod
    def apply(self, values: Array, rows: slice) -> Array:
        """Some rows of a chunk (m, d), mapped."""

    @abstractmethod
    def undo(self, values: Array, rows: slice) -> Array:
        """Mapped rows as they were before; NaN where nothing is known of a feature."""

    @abstractmethod
    def undo_deviation(self, values: Array) -> Array:
        """Standard deviations of mapped rows, in units from before.

        Raises
        ------
        InputError
            If they cannot be told.
        """

    @property
    def lossy(self) -> tuple[int, ...]:
        """Columns in which values may become NaN that are none."""
        return ()

    def lost(self, counts: Array) -> str:
        """How many did in each of these columns, in words."""
        raise AssertionError(f"{type(self).__name__} loses nothing, but {counts}")


class Unchanged(Applied):
    """Values stay as they are."""

    def apply(self, values: Array, rows: slice) -> Array:
        return values

    def undo(self, values: Array, rows: slice) -> Array:
        return values

    def undo_deviation(self, values: Array) -> Array:
        return values


@dataclass(frozen=True)
class MappingStep(Record, Applied):
    """One thing that is done to rows before a model sees them, and recorded with the model."""

    #: whether it belongs to the rows, not to the model: it is not kept with it
    of_data: ClassVar[bool] = False
    #: whether it has to know where rows lie
    of_places: ClassVar[bool] = False

    @property
    def words(self) -> str:
        """What it is, e.g. ``"Log of chlorophyll"``."""
        features = getattr(self, "features", None)
        named = f" of {abridged(features)}" if features else ""
        return f"{type(self).__name__}{named}"

    @property
    def needs_moments(self) -> bool:
        """Whether a pass over the data has to tell it something first."""
        return False

    def bound(self, features: Features) -> Self:
        """The same for these features.

        Raises
        ------
        SchemaError
            If they are not those that it wants.
        """
        return self

    def fitted(self, features: Features, moments: FeatureMoments) -> Self:
        """The same, once it is known what the features are like."""
        return self

    def assumed(self, features: Features) -> Self:
        """The same with made-up numbers where it would learn them, to tell what it costs."""
        zeros = np.zeros(features.n)
        return self.fitted(features, FeatureMoments(zeros, zeros, zeros))

    def after(self, features: Features) -> Features:
        """The features that it makes of features."""
        return features

    def located(self, features: Features, samples: Samples) -> Applied:
        """The same on the sample axes of a source.

        Raises
        ------
        SchemaError, DataError
            If it does not fit there.
        """
        return self
