"""RowMask: which rows there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from dask_em.core.records import Array
from dask_em.errors import SchemaError
from dask_em.mapping.features import Features
from dask_em.mapping.groups import axis_of
from dask_em.mapping.step import Applied, MappingStep, Region, Samples, Unchanged

__all__ = ["RowMask"]

#: a lazy mask of more bytes is not computed
LARGEST = 1 << 30


@final
@dataclass(frozen=True)
class RowMask(MappingStep, Unchanged):
    """Leave out the rows where a mask is False.

    They do not enter a fit or a score, and get the label -1 and NaN for every other answer. A mask
    belongs to the rows and not to the model: it is not saved with it, and `predict` and the others
    take one of their own, with ``mapping=[RowMask(mask)]``.

    Parameters
    ----------
    mask : array of bool, pandas.Series, xarray.DataArray, dask array or zarr.Array
        True for the rows that are wanted, in the shape of the samples, or of some of the sample
        axes: those that its `dims` name, otherwise the last ones. Stored ones are read chunk by
        chunk, dask arrays are computed at once.
    dims : sequence of str, optional
        Names of its axes, where it does not know them itself.
    """

    of_data: ClassVar[bool] = True
    of_places: ClassVar[bool] = True

    mask: Any
    dims: Any = None

    def __post_init__(self) -> None:
        mask, dims = self.mask, self.dims
        if hasattr(mask, "dims") and hasattr(mask, "coords"):  # an xarray.DataArray
            dims = tuple(mask.dims) if dims is None else dims
            mask = mask.data
        if isinstance(mask, list | tuple) or hasattr(mask, "to_numpy"):  # a pandas.Series
            mask = np.asarray(mask)
        if np.dtype(getattr(mask, "dtype", "O")).kind not in "biu":
            raise SchemaError(
                f"the mask is a {type(mask).__name__} of dtype {getattr(mask, 'dtype', None)}; "
                "give True for the rows that are wanted, for example mask > 0"
            )
        dims = (dims,) if isinstance(dims, str) else dims
        if dims is not None and len(dims) != mask.ndim:
            raise SchemaError(f"the mask of shape {mask.shape} has the dims {tuple(dims)}")
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "dims", None if dims is None else tuple(map(str, dims)))

    def located(self, features: Features, samples: Samples) -> Applied:
        axes, mask = self._axes(samples), self.mask
        if hasattr(mask, "dask"):
            nbytes = int(np.prod(mask.shape))
            if nbytes > LARGEST:
                raise SchemaError(
                    f"the mask is a dask array of {nbytes:,} values, more than {LARGEST:,} that "
                    "are computed at once; store it as Zarr and give the zarr.Array"
                )
            mask = np.asarray(mask.compute())
        if isinstance(mask, np.ndarray):
            order = np.argsort(axes, kind="stable")
            mask, axes = mask.transpose(order), tuple(sorted(axes))
        return _Masked(mask, axes, (0,) * len(axes))

    def _axes(self, samples: Samples) -> tuple[int, ...]:
        shape = tuple(int(length) for length in self.mask.shape)
        if self.dims is not None and samples.dims is not None:
            axes = tuple(axis_of(dim, samples, "the mask") for dim in self.dims)
        else:
            if self.dims is not None and len(shape) < len(samples.shape):
                raise SchemaError(
                    f"the mask is along {', '.join(self.dims)}, but the sample axes of "
                    f"{samples.describe} have no names; give it for all of them, "
                    f"{samples.shape}, or without dims for the last {len(shape)}"
                )
            axes = tuple(range(len(samples.shape) - len(shape), len(samples.shape)))
        expected = tuple(samples.shape[axis] for axis in axes if axis >= 0)
        if expected != shape:
            named = "" if samples.dims is None else f" ({', '.join(samples.dims)})"
            raise SchemaError(
                f"the mask has shape {shape}, but the samples of {samples.describe} have "
                f"{samples.shape}{named}; give one value for each, or name the axes with dims=[...]"
            )
        return axes


@final
@dataclass(frozen=True)
class _Masked(Unchanged):
    """A mask, or the part of it that some chunks need."""

    mask: Any
    axes: tuple[int, ...]  # the sample axis of each of its axes
    origin: tuple[int, ...]  # where the part begins, along these

    def cut(self, region: Region) -> Applied:
        if not isinstance(self.mask, np.ndarray):
            return self  # pickled, it is an address
        parts = tuple(region[axis] for axis in self.axes)
        return _Masked(self.mask[parts], self.axes, tuple(part.start for part in parts))

    def at(self, region: Region | None) -> Applied:
        assert region is not None
        inside = tuple(
            slice(region[axis].start - start, region[axis].stop - start)
            for axis, start in zip(self.axes, self.origin, strict=True)
        )
        part = np.asarray(self.mask[inside]).astype(bool, copy=False)
        order = np.argsort(self.axes, kind="stable")
        spread = [1] * len(region)
        for axis in self.axes:
            spread[axis] = region[axis].stop - region[axis].start
        shape = tuple(one.stop - one.start for one in region)
        whole = np.broadcast_to(part.transpose(order).reshape(spread), shape)
        return _Kept(np.ascontiguousarray(whole).reshape(-1))


@final
@dataclass(frozen=True)
class _Kept(Unchanged):
    """The mask of one chunk."""

    rows: Array  # (n,) bool

    def kept(self) -> Array | None:
        return self.rows
