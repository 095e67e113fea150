"""Labels: answers with the dimensions, coordinates and chunks of what was asked about."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from xarray.conventions import encode_cf_variable

from dask_em.core.records import Array
from dask_em.engine.query import Query
from dask_em.engine.source import Coordinate
from dask_em.sources.columns import Column
from dask_em.sources.coordinates import LARGEST_BYTES
from dask_em.sources.layout import named_apart
from dask_em.sources.xarray.variables import Chosen

__all__ = ["Labels"]

#: how times are encoded where coordinates are written beside answers
TIMES = ("units", "calendar")
#: how values are encoded; chunks and codecs are the business of where they are written: those of
#: Zarr 2 are refused by Zarr 3, those of a whole do not fit what is cut from it
VALUES = (*TIMES, "dtype", "_FillValue", "missing_value", "scale_factor", "add_offset")


@dataclass(frozen=True, eq=False)
class Labels:
    """What answers have in common with the data that they are about.

    Parameters
    ----------
    variables : xarray.Dataset
        The chosen ones.
    array : bool
        Whether a DataArray came in.
    name : hashable or None
        Of that DataArray.
    sample_dims : tuple
    spans : tuple of (name, start, stop)
        The features of each variable.
    chunks : mapping
        Lengths of chunks by sample dimension; empty for what is in no dask chunks.
    """

    variables: xr.Dataset
    array: bool
    name: Any
    sample_dims: tuple[Any, ...]
    spans: tuple[tuple[Any, int, int], ...]
    chunks: Mapping[Any, tuple[int, ...]]

    @classmethod
    def of(cls, data: Any, dataset: xr.Dataset, chosen: Chosen, columns: Sequence[Column]) -> Self:
        """The labels of chosen variables of a dataset, which `data` may be in other form."""
        stops = np.cumsum([column.axes.n_features for column in columns]).tolist()
        spans = zip(chosen.names, [0, *stops], stops, strict=False)
        array = isinstance(data, xr.DataArray)
        chunked: dict[Any, tuple[int, ...]] = {}
        for name in chosen.names:
            chunked = {**dataset.variables[name].chunksizes, **chunked}
        return cls(
            _free_of_storage(dataset[list(chosen.names)]),
            array,
            data.name if array else None,
            chosen.sample_dims,
            tuple(spans),
            {dim: chunked[dim] for dim in chosen.sample_dims if dim in chunked},
        )

    def put_on(self, answers: Any, query: Query) -> xr.DataArray | xr.Dataset:
        """Answers (samples..., axes of the query...) as what came in."""
        if hasattr(answers, "__dask_graph__"):
            answers = self._in_chunks(answers)
        return (
            self._as_variables(answers) if query.axes == ("feature",) else self._one(answers, query)
        )

    def coordinates(self) -> dict[str, Coordinate]:
        """The coordinates of the sample dimensions as a store would hold them, read now."""
        found = {}
        of_samples = self._of_samples
        for name, coordinate in of_samples.items():
            levels = of_samples.indexes[name].names if name in of_samples.indexes else ()
            if name not in levels and len(levels) > 1:
                _leave_apart(str(name), levels)
                continue
            one = _encoded(str(name), coordinate.variable)
            if one is not None:
                found[str(name)] = one
        return found

    @property
    def _of_samples(self) -> xr.Coordinates:
        names = [
            name
            for name, one in self.variables.coords.items()
            if set(one.dims) <= set(self.sample_dims)
        ]
        return self.variables.drop_vars(set(self.variables.variables) - set(names)).coords

    def _in_chunks(self, answers: Any) -> Any:
        """Dask blocks as the input has them: regions that were read at once are many of them."""
        wanted = {
            axis: self.chunks[dim]
            for axis, dim in enumerate(self.sample_dims)
            if dim in self.chunks
        }
        if all(answers.chunks[axis] == lengths for axis, lengths in wanted.items()):
            return answers
        return answers.rechunk(wanted)

    def _one(self, answers: Any, query: Query) -> xr.DataArray:
        axes = named_apart(query.axes, self.sample_dims)
        places = {
            axis: np.arange(length) for axis, length in zip(axes, query.trailing, strict=True)
        }
        return xr.DataArray(
            answers,
            self._of_samples,
            (*self.sample_dims, *axes),
            query.name,
            dict(query.attributes),
        ).assign_coords(places)

    def _as_variables(self, rows: Any) -> xr.DataArray | xr.Dataset:
        """Rows (samples..., d) as the variables that they are made of."""
        parts = {name: self._variable(name, rows[..., a:b]) for name, a, b in self.spans}
        if self.array:
            ((name, variable),) = parts.items()
            found: xr.DataArray = xr.Dataset({name: variable}, self.variables.coords)[name]
            return found.rename(self.name)
        return xr.Dataset(parts, self.variables.coords, self.variables.attrs)

    def _variable(self, name: Any, rows: Any) -> xr.Variable:
        template = self.variables.variables[name]
        features = [dim for dim in template.dims if dim not in self.sample_dims]
        shape = (*rows.shape[:-1], *(template.sizes[dim] for dim in features))
        whole = xr.Variable((*self.sample_dims, *features), rows.reshape(shape), template.attrs)
        front = [dim for dim in self.sample_dims if dim not in template.dims]
        return whole.transpose(*front, *template.dims)


def _free_of_storage(dataset: xr.Dataset) -> xr.Dataset:
    found = dataset.drop_encoding()
    for name, variable in found.variables.items():
        told = dataset.variables[name].encoding
        variable.encoding = {key: told[key] for key in VALUES if key in told}
    return found


def _encoded(name: str, variable: xr.Variable) -> Coordinate | None:
    if variable.nbytes > LARGEST_BYTES:
        _leave_out(name, f"has {variable.nbytes:,} bytes, the limit is {LARGEST_BYTES:,}")
        return None
    plain = variable.to_base_variable().load()
    plain.encoding = {key: plain.encoding[key] for key in TIMES if key in plain.encoding}
    try:
        found = encode_cf_variable(plain, name=name)
        values, attributes = _storable(np.asarray(found.values)), _attributes(found.attrs)
    except (NotImplementedError, TypeError, ValueError) as error:
        _leave_out(name, f"cannot be encoded ({error})")
        return None
    return Coordinate(tuple(map(str, found.dims)), values, attributes)


def _storable(values: Array) -> Array:
    if values.dtype.kind != "O":
        return values
    if not all(isinstance(value, str) for value in values.flat):
        raise TypeError("it holds objects that are no text")
    return values.astype(np.str_)


def _attributes(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    plain = {
        str(name): value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        for name, value in attributes.items()
    }
    # NaN, which JSON does not know, needs no mark
    fill = plain.get("_FillValue")
    return {key: one for key, one in plain.items() if key != "_FillValue" or fill == fill}


def _leave_apart(name: str, levels: Sequence[Any]) -> None:
    warnings.warn(
        f"the coordinate {name} is an index of the levels {', '.join(map(str, levels))}, which are "
        f"written one by one; join them again in what xarray opens there, with "
        f".set_index({name}={list(levels)})",
        UserWarning,
        stacklevel=2,
    )


def _leave_out(name: str, why: str) -> None:
    warnings.warn(
        f"the coordinate {name} {why}; it is not written beside the answers: assign it to what "
        "xarray opens there",
        UserWarning,
        stacklevel=2,
    )
