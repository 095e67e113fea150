"""What xarray has opened and not yet read: regions of it, through xarray or beneath it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import xarray as xr
from xarray.core import indexing

from dask_em.core.records import Array
from dask_em.engine.fingerprint import digest
from dask_em.engine.source import Region
from dask_em.errors import SchemaError
from dask_em.sources.cf import Packing
from dask_em.sources.reach import patiently_read
from dask_em.sources.rows import row_dtype
from dask_em.sources.xarray.sliced import cut_of
from dask_em.sources.xarray.views import Resident, StoredView, View

__all__ = ["Lazy", "unwrapped", "view_of"]

#: values that tell one file from another
PROBED = 4
#: xarray's functions that decode what `Packing` does as well, and the arguments that it knows
MASK, SCALE = "_apply_mask", "_scale_offset_decoding"
ARGUMENTS = {
    MASK: {"encoded_fill_values", "decoded_fill_value", "dtype"},
    SCALE: {"scale_factor", "add_offset", "dtype"},
}


@final
@dataclass(frozen=True, eq=False)
class Lazy(View):
    """A variable that xarray reads and decodes, in regions, and keeps nothing of.

    Parameters
    ----------
    variable : xarray.Variable
    chunks : tuple of int
        In which it is stored, or 1 where that means nothing.
    """

    variable: xr.Variable
    chunks: tuple[int, ...]

    @classmethod
    def of(cls, variable: xr.Variable) -> Lazy:
        data = _patient(variable._data)
        patient = xr.Variable(variable.dims, data, variable.attrs, variable.encoding, fastpath=True)
        return cls(patient, _stored_chunks(variable))

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self.variable.shape)

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        found: np.dtype[Any] = np.dtype(self.variable.dtype)
        return found

    def __getitem__(self, selection: Region) -> Array:
        # what is selected of a variable has a cache of its own, which goes with it
        return np.asarray(self.variable[selection].values)

    def stored(self) -> list[Any]:
        found = _beneath(self.variable._data)
        return [] if found is None else [found]

    def some(self) -> str:
        """A short name for a few values."""
        n = self.variable.size
        places = np.unique(np.linspace(0, n - 1, min(n, PROBED)).astype(np.int64))
        cells = [np.unravel_index(place, self.shape) for place in places]
        return digest([self[tuple(slice(int(i), int(i) + 1) for i in cell)] for cell in cells])

    def when_written(self) -> str | None:
        """Another one whenever the file is written to; None for what is no local file."""
        path = self.variable.encoding.get("source")
        if path is None or not os.path.isfile(path):
            return None
        told = os.stat(path)
        return digest([told.st_size, told.st_mtime_ns])


def view_of(variable: xr.Variable, name: Any) -> View:
    """A variable whose values dask does not compute, as a view.

    Raises
    ------
    SchemaError
        If it is made of arrays that are neither NumPy's nor xarray's own.
    """
    if variable._in_memory:
        return Resident.of(np.asarray(variable.values))
    if not isinstance(variable._data, indexing.ExplicitlyIndexed):
        raise SchemaError(
            f"variable {name} is made of {type(variable._data).__module__}."
            f"{type(variable._data).__qualname__}; pass arrays of NumPy or dask, e.g. with "
            ".as_numpy()"
        )
    return _stored(variable) or Lazy.of(variable)


def unwrapped(variable: xr.Variable) -> xr.Variable | None:
    """What dask reads a variable from, where it does nothing but read a box of it in chunks."""
    array = variable.data
    cut = cut_of(array) if hasattr(array, "dask") else None
    if cut is None:
        return None
    found = cut.array
    if isinstance(found, indexing.ImplicitToExplicitIndexingAdapter):
        found = found.array
    elif not isinstance(found, np.ndarray):
        return None
    return xr.Variable(variable.dims, found, variable.attrs, variable.encoding)[cut.box]


def _stored_chunks(variable: xr.Variable) -> tuple[int, ...]:
    by_dim = variable.encoding.get("preferred_chunks")
    if not isinstance(by_dim, Mapping):
        lengths = variable.encoding.get("chunksizes")
        known = lengths is not None and len(lengths) == variable.ndim
        by_dim = dict(zip(variable.dims, lengths or (), strict=True)) if known else {}
    wanted = [by_dim.get(dim, 1) for dim in variable.dims]
    return tuple(
        max(1, min(int(length), whole)) if isinstance(length, int | np.integer) else 1
        for length, whole in zip(wanted, variable.shape, strict=True)
    )


def _stored(variable: xr.Variable) -> StoredView | None:
    """The Zarr array beneath, where xarray does nothing but select a box and unpack.

    xarray goes through the values once for each step of decoding; `Packing` gives the same.
    """
    array: Any = variable._data
    packing = Packing()
    while not isinstance(array, indexing.LazilyIndexedArray):
        if isinstance(array, indexing.MemoryCachedArray | indexing.CopyOnWriteArray):
            array = array.array
            continue
        more = _packing(getattr(array, "func", None), packing, variable.dtype)
        if more is None:
            return None
        packing, array = more, array.array
    found = _beneath(array.array)
    box = None if found is None else _box(array.key.tuple, found.shape)
    if box is None or len(box) != variable.ndim:
        return None
    try:
        plain = packing.dtype(found.dtype, "a stored array")
    except SchemaError:  # times, say
        return None
    if plain != row_dtype(variable.dtype, ""):
        return None
    return StoredView(patiently_read(found), packing, box)


def _beneath(array: Any) -> Any:
    """The Zarr array under all that xarray put around it; None if it is something else."""
    while hasattr(array, "array"):
        array = array.array
    return getattr(array, "_array", None) if type(array).__name__ == "ZarrArrayWrapper" else None


def _patient(array: Any) -> Any:
    """The array with a patient store beneath; what is the user's is left as it is."""
    found = copy(array)
    if hasattr(array, "array"):
        found.array = _patient(array.array)
    elif _beneath(array) is not None:
        found._array = patiently_read(array._array)
    return found


def _packing(step: Any, packing: Packing, dtype: np.dtype[Any]) -> Packing | None:
    """What is known of the packing after one more step of decoding, the outermost first."""
    name = getattr(getattr(step, "func", None), "__name__", None)
    told = getattr(step, "keywords", {})
    if name not in ARGUMENTS or set(told) != ARGUMENTS[name]:
        return None
    if np.dtype(told["dtype"]) != dtype:
        return None
    try:
        if name == SCALE:
            if packing.scaled or packing.missing:
                return None
            scale, offset = (_float(told[key]) for key in ("scale_factor", "add_offset"))
            return Packing((), scale, offset)
        if not np.isnan(told["decoded_fill_value"]):
            return None
        marks = [value.item() for value in map(np.asarray, told["encoded_fill_values"])]
    except (TypeError, ValueError):
        return None
    return Packing(tuple(value for value in marks if value == value), packing.scale, packing.offset)


def _float(value: Any) -> float | None:
    return None if value is None else float(np.asarray(value).item())


def _box(key: tuple[Any, ...], shape: tuple[int, ...]) -> Region | None:
    """The box that a key selects; None if it does more."""
    if len(key) != len(shape) or not all(isinstance(part, slice) for part in key):
        return None
    spans = [part.indices(length) for part, length in zip(key, shape, strict=True)]
    if any(step != 1 for _, _, step in spans):
        return None
    return tuple(slice(start, max(start, stop)) for start, stop, _ in spans)
