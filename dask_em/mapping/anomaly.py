"""Anomaly: differences from what is normal at a place and a time of the year."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from dask_em.core.records import Array
from dask_em.errors import DataError, InputError, SchemaError
from dask_em.mapping.climatology import Climatology
from dask_em.mapping.features import Features
from dask_em.mapping.groups import part_of_time, parts_of_time, times_of
from dask_em.mapping.step import Applied, MappingStep, Region, Samples

__all__ = ["Anomaly"]

#: what says that groups were given by number
GIVEN = "groups"


@final
@dataclass(frozen=True)
class Anomaly(MappingStep):
    """Subtract a climatology: what is normal for the time of each sample, and for its place.

    Parameters
    ----------
    climatology : xarray.Dataset, xarray.DataArray or array (g, ..., d)
        For example ``ds.groupby("time.month").mean()``. The axes of an array are the groups, those
        sample axes that are not the axis of groups, or the last of them, or none, and the features.
    by : str, optional
        The group of a sample: the name of a dimension and a part of the time along it, such as
        "time.month" or "time.dayofyear"; "groups" for numbers that `Groups` gives; None where the
        climatology is the same at all times. The groups of an array are numbered from the least,
        January for months.
    """

    of_places: ClassVar[bool] = True

    climatology: Any
    by: str | None = "time.month"

    def __post_init__(self) -> None:
        object.__setattr__(self, "climatology", Climatology.of(self.climatology))
        part = "" if self.by is None else self.by.partition(".")[2]
        if self.by not in (None, GIVEN) and part not in parts_of_time():
            raise InputError(
                f'by={self.by!r}; it is "groups", or a dimension and one of '
                f'{", ".join(parts_of_time())}, such as "time.month"'
            )

    def located(self, features: Features, samples: Samples) -> Applied:
        group_dim = self._group_dim() if self.climatology.is_labelled else None
        axis, index, groups = self._groups(samples)
        if self.climatology.is_labelled:
            if samples.dims is None:
                raise SchemaError(
                    f"the climatology has named axes, but those of {samples.describe} have no "
                    "names; give an array (groups, ..., features)"
                )
            values, space = self.climatology.laid_out(features, samples, group_dim)
        else:
            values, space = self._plain(features, samples, axis)
        if groups is None and index is not None:
            _check_range(index, len(values))
        return _Anomalies(values, index, axis, space, (0,) * len(samples.shape))

    def apply(self, values: Array, rows: slice) -> Array:
        raise AssertionError("an anomaly depends on where rows lie")

    def undo(self, values: Array, rows: slice) -> Array:
        raise InputError(
            "a climatology is subtracted, so that it must be known when and where rows lie; only "
            "answers for rows of data can be given in units of the data"
        )

    def undo_deviation(self, values: Array) -> Array:
        return values

    def _group_dim(self) -> str | None:
        """The name of the climatology's axis of groups."""
        if self.by is None:
            return None
        wanted = self.by.partition(".")[2] or GIVEN
        if self.climatology.length(wanted) is not None:
            return wanted
        found = sorted({dim for one in self.climatology.variables for dim in one.dims})
        raise SchemaError(
            f"by={self.by!r} wants a climatology along {wanted!r}, but this one is along "
            f'{", ".join(found)}; give ds.groupby("{self.by}").mean(), or by=None where it is the '
            "same at all times"
        )

    def _groups(self, samples: Samples) -> tuple[int | None, Array | None, Array | None]:
        """The axis of groups, the row of the climatology for each position, and its labels."""
        if self.by is None:
            return None, None, None
        if self.by == GIVEN:
            if samples.groups is None:
                raise SchemaError(
                    f'by="groups", but nothing says to which group the samples of '
                    f"{samples.describe} belong; give Groups(index) before it in mapping=[...]"
                )
            return samples.groups.axis(samples), samples.groups.index, None
        dim, _, part = self.by.partition(".")
        if samples.dims is None or dim not in samples.dims:
            known = "have no names" if samples.dims is None else f"are {', '.join(samples.dims)}"
            raise SchemaError(
                f"by={self.by!r}, but the sample axes of {samples.describe} {known}; give the "
                'number of each group with Groups(index) and by="groups"'
            )
        wanted = part_of_time(times_of(samples, dim, "Anomaly"), part)
        labels = self._labels(part)
        return samples.dims.index(dim), _places(wanted, labels, part), labels

    def _labels(self, part: str) -> Array:
        labels = self.climatology.along(part)
        if labels is not None:
            return np.asarray(labels)
        first = 1 if part in ("month", "day", "dayofyear") else 0
        one = self.climatology.variables[0]
        if part == "year":
            raise SchemaError("a climatology by year must tell the years; give it as a DataArray")
        return np.arange(first, first + one.values.shape[one.dims.index(part) if one.dims else 0])

    def _plain(
        self, features: Features, samples: Samples, axis: int | None
    ) -> tuple[Array, tuple[int, ...]]:
        """An array whose axes have no names."""
        values = self.climatology.variables[0].values
        if self.by is None:
            values = values[None]
        others = tuple(one for one in range(len(samples.shape)) if one != axis)
        n_space = min(max(values.ndim - 2, 0), len(others))
        space = others[len(others) - n_space :]
        expected = (*(samples.shape[one] for one in space), features.n)
        if values.shape[1:] != expected:
            shape = [str(samples.shape[one]) for one in others]
            raise SchemaError(
                f"the climatology has shape {self.climatology.variables[0].values.shape}, but "
                f"{samples.describe} needs (groups, {features.n}) or (groups, "
                f"{', '.join([*shape, str(features.n)])})"
                + (", without groups for by=None" if self.by is None else "")
            )
        return values, space


@final
@dataclass(frozen=True)
class _Anomalies(Applied):
    """A climatology on the sample axes, or the part of it that some chunks need."""

    values: Array  # (g, ..., d)
    index: Array | None  # (n,) the group of each position along the axis of groups
    axis: int | None
    space: tuple[int, ...]  # the sample axes between
    origin: tuple[int, ...]  # where the part begins

    def cut(self, region: Region) -> Applied:
        values, index = self.values, self.index
        if index is not None and self.axis is not None:
            groups, index = np.unique(index[region[self.axis]], return_inverse=True)
            values = values[groups]
        values = values[(slice(None), *(region[axis] for axis in self.space))]
        origin = tuple(part.start for part in region)
        return _Anomalies(values, index, self.axis, self.space, origin)

    def at(self, region: Region | None) -> Applied:
        assert region is not None
        inside = [
            slice(part.start - start, part.stop - start)
            for part, start in zip(region, self.origin, strict=True)
        ]
        found = self.values[(slice(None), *(inside[axis] for axis in self.space))]
        axes = [*self.space]
        if self.axis is None or self.index is None:
            found = found[0]
        else:
            found, axes = found[self.index[inside[self.axis]]], [self.axis, *axes]
        order = np.argsort(axes, kind="stable")
        found = found.transpose(*order, len(axes))
        shape = [part.stop - part.start for part in region]
        spread = [length if axis in axes else 1 for axis, length in enumerate(shape)]
        d = found.shape[-1]
        whole = np.broadcast_to(found.reshape(*spread, d), (*shape, d))
        return _Normals(whole.reshape(-1, d))

    def apply(self, values: Array, rows: slice) -> Array:
        raise AssertionError("an anomaly depends on where rows lie")

    undo = apply

    def undo_deviation(self, values: Array) -> Array:
        return values


@final
@dataclass(frozen=True)
class _Normals(Applied):
    """What is normal for the rows of one chunk."""

    values: Array  # (n, d)

    def apply(self, values: Array, rows: slice) -> Array:
        values -= self.values[rows]
        return values

    def undo(self, values: Array, rows: slice) -> Array:
        values += self.values[rows]
        return values

    def undo_deviation(self, values: Array) -> Array:
        return values


def _places(wanted: Array, labels: Array, part: str) -> Array:
    """Where in the labels each wanted one is.

    Raises
    ------
    DataError
        If one is not there.
    """
    order = np.argsort(labels, kind="stable")
    found = np.searchsorted(labels, wanted, sorter=order).clip(max=len(labels) - 1)
    places = order[found]
    lacking = labels[places] != wanted
    if lacking.any():
        which = ", ".join(str(one) for one in np.unique(wanted[lacking])[:12])
        raise DataError(
            f"the climatology lacks the {part} {which}, to which {int(lacking.sum())} of "
            f"{len(wanted)} times belong; give one that has it, or leave these times out"
        )
    return np.asarray(places)


def _check_range(index: Array, n_groups: int) -> None:
    outside = (index < 0) | (index >= n_groups)
    if outside.any():
        raise DataError(
            f"{int(outside.sum())} of {len(index)} samples belong to group "
            f"{int(index[outside][0])}, but the climatology has the groups 0 to {n_groups - 1}"
        )
