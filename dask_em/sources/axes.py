"""Axes: which axes of a stored array are samples and which are features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

from dask_em.core.records import Array
from dask_em.engine.source import Region
from dask_em.errors import SchemaError

__all__ = ["Axes"]

T = TypeVar("T")


@dataclass(frozen=True)
class Axes:
    """The roles of a stored array's axes.

    Parameters
    ----------
    shape : tuple of int
        The stored array's.
    order : tuple of int
        Its axes, the samples first, in the source's order, then the features.
    n_samples : int
        How many of them are sample axes.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    n_samples: int

    @classmethod
    def features_last(cls, shape: tuple[int, ...]) -> Axes:
        """All axes but the last are samples."""
        return cls(shape, tuple(range(len(shape))), len(shape) - 1)

    @classmethod
    def all_samples(cls, shape: tuple[int, ...]) -> Axes:
        """Every axis is a sample axis; the array is one feature."""
        return cls(shape, tuple(range(len(shape))), len(shape))

    @classmethod
    def named(
        cls, name: str, shape: tuple[int, ...], dims: Sequence[str | None], samples: Sequence[str]
    ) -> Axes:
        """The named dimensions are samples, in the given order, and the others are features.

        Raises
        ------
        SchemaError
            If the array lacks one of them, or one is named twice.
        """
        if len(set(samples)) < len(samples):
            raise SchemaError(f"sample_dims={list(samples)} names a dimension twice; name it once")
        missing = [dim for dim in samples if dim not in dims]
        if missing:
            raise SchemaError(
                f"array {name} has dimensions {_listed(dims)} and lacks {_listed(missing)} of "
                f"sample_dims; name dimensions that every array has, or leave {name} out"
            )
        first = [list(dims).index(dim) for dim in samples]
        rest = [axis for axis in range(len(shape)) if axis not in first]
        return cls(shape, (*first, *rest), len(first))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.sample_part(self.shape)

    @property
    def feature_axes(self) -> tuple[int, ...]:
        """The stored axes that are features, in order."""
        return self.order[self.n_samples :]

    @property
    def n_features(self) -> int:
        return prod(self.shape[axis] for axis in self.feature_axes)

    def sample_part(self, items: Sequence[T]) -> tuple[T, ...]:
        """Of one item per stored axis, those of the sample axes in the source's order."""
        return tuple(items[axis] for axis in self.order[: self.n_samples])

    def stored_chunks(self, sample_chunks: Sequence[int]) -> tuple[int, ...]:
        """A chunk shape of the stored array that keeps its features together."""
        lengths = list(self.shape)
        for axis, length in zip(self.order, sample_chunks, strict=False):
            lengths[axis] = length
        return tuple(lengths)

    def selection(self, region: Region) -> Region:
        """What to select of the stored array for a region of the samples: features are whole."""
        parts = [slice(0, length) for length in self.shape]
        for axis, part in zip(self.order, region, strict=False):
            parts[axis] = part
        return tuple(parts)

    def rows(self, part: Array) -> Array:
        """(n, f) rows of a selected part, as a view where the stored order allows it."""
        n = prod(self.sample_part(part.shape))
        return part.transpose(self.order).reshape(n, self.n_features)


def _listed(dims: Sequence[str | None]) -> str:
    return "(" + ", ".join(str(dim) for dim in dims) + ")"
