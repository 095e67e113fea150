"""Views: arrays of which regions are read, in memory, of other axes, or stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from dask_em.core.records import Array
from dask_em.engine.source import Region
from dask_em.sources.cells import stored_chunks
from dask_em.sources.cf import Packing

__all__ = ["Broadcast", "Resident", "StoredView", "View"]


class View(ABC):
    """An array, read region by region; it pickles without reading."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]  # in which it is read best

    @abstractmethod
    def __getitem__(self, selection: Region) -> Array:
        """The values of a region."""

    def within(self, selections: Sequence[Region]) -> View:
        """A view that need not hold more than these regions."""
        return self

    def needed(self, selection: Region) -> list[Any]:
        """Keys of the blocks of a dask graph that a region is made of."""
        return []

    def given(self, blocks: Mapping[Any, Array]) -> View:
        """The view when these blocks have been computed."""
        return self

    def named(self, selection: Region) -> Iterator[tuple[str, Region]]:
        """The stored chunks that a region touches, with what they share; none where unknown."""
        return iter(())

    def stored(self) -> list[Any]:
        """The Zarr arrays that are read, as far as they are known."""
        return []


@final
@dataclass(frozen=True, eq=False)
class Resident(View):
    """An array in memory, or the part of it that is needed.

    Parameters
    ----------
    values : array
    origin : tuple of int
        Where the values begin in the whole array.
    """

    values: Array
    origin: tuple[int, ...]

    @classmethod
    def of(cls, values: Array) -> Resident:
        return cls(values, (0,) * values.ndim)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]  # fixed when it was made
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.values.dtype

    @property
    def chunks(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.values.shape

    def __getitem__(self, selection: Region) -> Array:
        moved = (
            slice(part.start - start, part.stop - start)
            for part, start in zip(selection, self.origin, strict=True)
        )
        return self.values[tuple(moved)]

    def within(self, selections: Sequence[Region]) -> View:
        # pickled, a part of an array takes only its own values along
        box = tuple(
            slice(min(part.start for part in axis), max(part.stop for part in axis))
            for axis in zip(*selections, strict=True)
        )
        if len(box) < self.values.ndim:  # no axis, or nothing is asked for
            box = (slice(0, 0),) * self.values.ndim
        return Resident(self[box], tuple(part.start for part in box))


@final
@dataclass(frozen=True, eq=False)
class Broadcast(View):
    """A view with further axes in front, along which its values repeat.

    Parameters
    ----------
    view : View
    lengths : tuple of int
        Of the axes in front.
    """

    view: View
    lengths: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (*self.lengths, *self.view.shape)

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.view.dtype

    @property
    def chunks(self) -> tuple[int, ...]:  # type: ignore[override]
        return (*(1 for _ in self.lengths), *self.view.chunks)

    def __getitem__(self, selection: Region) -> Array:
        front = tuple(part.stop - part.start for part in selection[: len(self.lengths)])
        part = self.view[self._inner(selection)]
        return np.broadcast_to(part, (*front, *part.shape))

    def within(self, selections: Sequence[Region]) -> View:
        return Broadcast(self.view.within([self._inner(one) for one in selections]), self.lengths)

    def needed(self, selection: Region) -> list[Any]:
        return self.view.needed(self._inner(selection))

    def given(self, blocks: Mapping[Any, Array]) -> View:
        return Broadcast(self.view.given(blocks), self.lengths)

    def named(self, selection: Region) -> Iterator[tuple[str, Region]]:
        front = selection[: len(self.lengths)]
        return (
            (name, (*front, *shared)) for name, shared in self.view.named(self._inner(selection))
        )

    def stored(self) -> list[Any]:
        return self.view.stored()

    def _inner(self, selection: Region) -> Region:
        return selection[len(self.lengths) :]


@final
@dataclass(frozen=True, eq=False)
class StoredView(View):
    """A stored array, or a box of it, with its packed numbers unpacked.

    Parameters
    ----------
    array : zarr.Array
    packing : Packing
    box : tuple of slice
        The part that is seen.
    """

    array: Any
    packing: Packing
    box: Region

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(part.stop - part.start for part in self.box)

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.packing.dtype(self.array.dtype, f"array {self.array.path}")

    @property
    def chunks(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self.array.chunks)

    @property
    def whole(self) -> bool:
        """Whether all of the array is seen."""
        return self.shape == tuple(self.array.shape)

    def __getitem__(self, selection: Region) -> Array:
        return self.packing.unpack(np.asarray(self.array[self._moved(selection, 1)]), self.dtype)

    def named(self, selection: Region) -> Iterator[tuple[str, Region]]:
        return (
            (name, self._moved(shared, -1))
            for name, shared in stored_chunks(self.array, self._moved(selection, 1))
        )

    def stored(self) -> list[Any]:
        return [self.array]

    def _moved(self, selection: Region, sign: int) -> Region:
        return tuple(
            slice(part.start + sign * seen.start, part.stop + sign * seen.start)
            for part, seen in zip(selection, self.box, strict=True)
        )
