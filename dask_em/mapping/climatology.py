"""Climatology: what is normal at a place, in each month or another group of times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.core.names import nearest
from dask_em.core.records import Array, Record
from dask_em.errors import InputError, SchemaError
from dask_em.mapping.features import Features
from dask_em.mapping.groups import SEASONS
from dask_em.mapping.step import Samples

__all__ = ["Climatology", "LabelledArray"]

#: a name like ``temperature[level=500]``
_LEVEL = re.compile(r"^(.*?)\[(.*)\]$")


@dataclass(frozen=True)
class LabelledArray(Record):
    """An array whose axes have names."""

    name: str | None
    dims: tuple[str, ...]
    values: Array


@dataclass(frozen=True)
class Climatology(Record):
    """Normal values as they were given: of each variable, or of all features in one array.

    Parameters
    ----------
    variables : tuple of LabelledArray
        With names, or one without.
    labels : tuple of LabelledArray
        Numbers along the dimensions, where there are any.
    """

    variables: tuple[LabelledArray, ...]
    labels: tuple[LabelledArray, ...] = ()

    @classmethod
    def of(cls, given: Any) -> Climatology:
        """From an array, an xarray.DataArray or an xarray.Dataset.

        Raises
        ------
        InputError
            If it is none of these.
        """
        if isinstance(given, Climatology):
            return given
        if hasattr(given, "data_vars"):
            variables = [
                LabelledArray(str(name), tuple(map(str, one.dims)), _numbers(one.values))
                for name, one in given.data_vars.items()
            ]
            return cls(tuple(variables), _labels(given))
        if hasattr(given, "dims") and hasattr(given, "coords"):
            name = None if given.name is None else str(given.name)
            dims = tuple(map(str, given.dims))
            return cls((LabelledArray(name, dims, _numbers(given.values)),), _labels(given))
        plain = np.asarray(given)
        if plain.ndim < 1:
            raise InputError(f"the climatology is {given!r}; give an array (groups, ..., features)")
        return cls((LabelledArray(None, (), _numbers(plain)),))

    @property
    def is_labelled(self) -> bool:
        """Whether its axes, or variables, have names."""
        return any(one.dims or one.name is not None for one in self.variables)

    def along(self, dim: str) -> Array | None:
        """The labels along a dimension."""
        return next((one.values for one in self.labels if one.name == dim), None)

    def length(self, dim: str) -> int | None:
        """How long a dimension is; None where there is none of this name."""
        lengths = (
            one.values.shape[one.dims.index(dim)] for one in self.variables if dim in one.dims
        )
        return next(lengths, None)

    def laid_out(
        self, features: Features, samples: Samples, group: str | None
    ) -> tuple[Array, tuple[int, ...]]:
        """Values (g, ..., d) with the sample axes between that they depend on, and which these are.

        Parameters
        ----------
        group : str, optional
            The name of the axis of groups; without one, g is 1.
        """
        assert samples.dims is not None
        variables = [self._of_feature(column, features) for column in range(features.n)]
        wanted = {dim for one in variables for dim in one.dims if dim != group}
        unknown = wanted - set(samples.dims)
        if unknown:
            raise SchemaError(
                f"the climatology depends on {', '.join(sorted(unknown))}, but the sample axes of "
                f"{samples.describe} are {', '.join(samples.dims)}"
                + (f", and groups are along {group!r}" if group else "")
            )
        space = tuple(axis for axis, dim in enumerate(samples.dims) if dim in wanted)
        groups = (self.length(group) or 0) if group else 1
        lengths = [groups, *(samples.shape[axis] for axis in space)]
        laid = np.empty((*lengths, features.n), np.result_type(*(v.values for v in variables)))
        for axis in space:
            self._check(samples.dims[axis], samples)
        order = (group, *(samples.dims[axis] for axis in space))
        for column, one in enumerate(variables):
            laid[..., column] = _spread(one, order)
        return laid, space

    def _check(self, dim: str, samples: Samples) -> None:
        """Refuse other places: another grid, or the same the other way round."""
        axis = samples.dims.index(dim) if samples.dims else 0
        if self.length(dim) != samples.shape[axis]:
            raise SchemaError(
                f"the climatology has {self.length(dim)} places along {dim!r}, but "
                f"{samples.describe} has {samples.shape[axis]}; give it on the same grid"
            )
        mine, found = self.along(dim), samples.coordinates().get(dim)
        theirs = None if found is None else np.asarray(found.values)
        if mine is None or theirs is None or theirs.dtype.kind not in "iuf":
            return
        if mine.shape == theirs.shape and not np.allclose(mine, theirs, rtol=1e-5, atol=1e-8):
            turned = np.allclose(mine, theirs[::-1], rtol=1e-5, atol=1e-8)
            raise SchemaError(
                f"the climatology has other places along {dim!r} than {samples.describe}: "
                + ("the same, the other way round" if turned else f"{mine[:3]}, not {theirs[:3]}")
                + "; give it on the same grid"
            )

    def _of_feature(self, column: int, features: Features) -> LabelledArray:
        """What is normal for one feature."""
        named = [one for one in self.variables if one.name is not None]
        if features.names is None:
            if len(self.variables) == 1 and features.n == 1:
                return self.variables[0]
            raise SchemaError(
                f"the climatology is of {', '.join(str(one.name) for one in self.variables)}, but "
                f"these rows do not know the names of their {features.n} features; give an array "
                "(groups, ..., features) in their order"
            )
        name = features.names[column]
        found = next((one for one in named if one.name == name), None)
        if found is not None:
            return found
        level = _LEVEL.match(name)
        base = next((one for one in named if level and one.name == level[1]), None)
        if level is not None and base is not None:
            return self._at_level(base, level[2], name)
        if len(self.variables) == 1 and features.n == 1:
            return self.variables[0]
        known = [str(one.name) for one in named]
        raise SchemaError(f"the climatology lacks the feature {name!r}; {nearest(name, known)}")

    def _at_level(self, base: LabelledArray, text: str, name: str) -> LabelledArray:
        ticks = [tick.partition("=") for tick in text.split(",")]
        dims = [dim for dim, equals, _ in ticks if equals]
        if len(dims) < len(ticks) or not set(dims) <= set(base.dims):
            raise SchemaError(f"the climatology lacks {name!r}: {base.name} has {base.dims}")
        values, left = base.values, list(base.dims)
        for dim, _, wanted in ticks:
            labels = self.along(dim)
            numbers = np.arange(values.shape[left.index(dim)]) if labels is None else labels
            places = [i for i, one in enumerate(numbers.tolist()) if _tick(one) == wanted]
            if not places:
                raise SchemaError(f"the climatology lacks {name!r}; {dim} is {numbers.tolist()}")
            values = values.take(places[0], axis=left.index(dim))
            left.remove(dim)
        return LabelledArray(name, tuple(left), values)


def _tick(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _spread(one: LabelledArray, order: Sequence[str | None]) -> Array:
    """Values with the axes of an order, of length 1 where they do not depend on one."""
    present = [dim for dim in order if dim in one.dims]
    values = one.values.transpose([one.dims.index(str(dim)) for dim in present])
    lengths = iter(values.shape)
    return values.reshape([next(lengths) if dim in one.dims else 1 for dim in order])


def _labels(given: Any) -> tuple[LabelledArray, ...]:
    found = []
    for dim in map(str, given.dims):
        if dim not in given.coords:
            continue
        values = np.asarray(given.coords[dim].values)
        if values.dtype.kind in "OUS" and set(values.tolist()) <= set(SEASONS):
            values = np.array([SEASONS.index(one) for one in values.tolist()])
        if values.dtype.kind in "iuf":  # other kinds are not compared
            found.append(LabelledArray(dim, (dim,), values))
    return tuple(found)


def _numbers(values: Any) -> Array:
    values = np.asarray(values)
    if values.dtype.kind not in "iuf":
        raise InputError(
            f"the climatology has dtype {values.dtype} and shape {values.shape}; give numbers, as "
            'an array (groups, ..., features) or as ds.groupby("time.month").mean()'
        )
    return np.asarray(values if values.dtype.kind == "f" else values.astype(np.float64))
