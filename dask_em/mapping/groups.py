"""Groups of samples: given by number, or parts of their times, such as the month."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from dask_em.core.records import Array
from dask_em.errors import InputError, SchemaError
from dask_em.mapping.features import Features
from dask_em.mapping.step import Applied, MappingStep, Region, Samples, Unchanged

__all__ = ["SEASONS", "Groups", "part_of_time", "parts_of_time", "times_of"]

#: seasons as they are numbered here
SEASONS = ("DJF", "MAM", "JJA", "SON")
#: units of times, as the CF conventions spell them
_UNITS = {
    **dict.fromkeys(("day", "days", "d"), 86_400_000_000),
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h"), 3_600_000_000),
    **dict.fromkeys(("minute", "minutes", "min", "mins"), 60_000_000),
    **dict.fromkeys(("second", "seconds", "sec", "secs", "s"), 1_000_000),
    **dict.fromkeys(("millisecond", "milliseconds", "msec", "ms"), 1_000),
    **dict.fromkeys(("microsecond", "microseconds"), 1),
    **dict.fromkeys(("nanosecond", "nanoseconds"), 1e-3),
}
_SINCE = re.compile(
    r"^\s*(\w+)\s+since\s+(\d{1,4}-\d{1,2}-\d{1,2})(?:[T ]+(\d{1,2}(?::\d{1,2}(?::[\d.]+)?)?))?"
    r"\s*(?:Z|UTC|\+?00:?00)?\s*$"
)
#: calendars of which a date is what NumPy takes it for
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")


@final
@dataclass(frozen=True)
class Groups(MappingStep, Unchanged):
    """Say to which group each sample belongs, for ``Anomaly(..., by="groups")``.

    It belongs to the rows and not to the model: give it again with other rows.

    Parameters
    ----------
    index : array (n,) of int
        The group of each position along one sample axis, from 0.
    dim : str or int
        Which axis that is.
    """

    of_data: ClassVar[bool] = True
    of_places: ClassVar[bool] = True

    index: Any
    dim: str | int = 0

    def __post_init__(self) -> None:
        index = np.asarray(self.index)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise InputError(
                f"Groups has an index of shape {index.shape} and dtype {index.dtype}; give a whole "
                "number, from 0, for each position along one sample axis"
            )
        object.__setattr__(self, "index", index)

    def axis(self, samples: Samples) -> int:
        """The sample axis that it is along, checked."""
        axis = axis_of(self.dim, samples, "Groups")
        if len(self.index) != samples.shape[axis]:
            raise SchemaError(
                f"Groups has {len(self.index)} numbers for {samples.shape[axis]} positions along "
                f"axis {self.dim} of {samples.describe}; give one for each"
            )
        return axis

    def located(self, features: Features, samples: Samples) -> Groups:
        self.axis(samples)
        return self

    def cut(self, region: Region) -> Applied:
        return Unchanged()  # an anomaly has its own part of the index


def axis_of(dim: str | int, samples: Samples, who: str) -> int:
    """Which sample axis a name, or a number, means."""
    if isinstance(dim, int):
        if 0 <= dim < len(samples.shape):
            return dim
        raise SchemaError(
            f"{who} is along sample axis {dim}, but {samples.describe} has "
            f"{len(samples.shape)} of them"
        )
    if samples.dims is None or dim not in samples.dims:
        known = "have no names" if samples.dims is None else f"are {', '.join(samples.dims)}"
        raise SchemaError(
            f"{who} is along {dim!r}, but the sample axes of {samples.describe} {known}"
        )
    return samples.dims.index(dim)


def times_of(samples: Samples, dim: str, who: str) -> Array:
    """(n,) datetime64 of the positions along a dimension.

    Raises
    ------
    SchemaError
        If they cannot be told.
    """
    found = samples.coordinates().get(dim)
    if found is None:
        raise SchemaError(
            f"{who} wants the times along {dim!r}, but {samples.describe} has no such coordinate; "
            'give the number of each group with Groups(index) and by="groups"'
        )
    values = np.asarray(found.values)
    return values if values.dtype.kind == "M" else _decoded(values, found.attributes, dim, who)


def _decoded(values: Array, attributes: Any, dim: str, who: str) -> Array:
    """Times from numbers and ``units``, by the CF conventions 1.11, section 4.4."""
    units, calendar = str(attributes.get("units", "")), attributes.get("calendar", "standard")
    found = _SINCE.match(units)
    unit = _UNITS.get(found[1].lower()) if found else None
    if (
        found is None
        or unit is None
        or calendar not in _CALENDARS
        or values.dtype.kind not in "iuf"
    ):
        raise SchemaError(
            f"{who} cannot tell dates from {dim!r} in units {units!r} of the calendar "
            f'{calendar!r}; give the number of each group with Groups(index) and by="groups"'
        )
    clock = [float(part) for part in (found[3] or "0").split(":")]
    seconds = sum(part * size for part, size in zip(clock, (3600, 60, 1), strict=False))
    year, month, day = (int(part) for part in found[2].split("-"))
    origin = np.datetime64(f"{year:04d}-{month:02d}-{day:02d}", "us")
    origin += np.timedelta64(round(seconds * 1_000_000), "us")
    return np.asarray(origin + np.rint(values * unit).astype("timedelta64[us]"))


def part_of_time(times: Array, part: str) -> Array:
    """(n,) int: the part of each time, e.g. its month, 1 to 12; seasons are numbered from 0."""
    return _PARTS[part](np.asarray(times))


def parts_of_time() -> tuple[str, ...]:
    """What there is."""
    return tuple(_PARTS)


def _month(times: Array) -> Array:
    return np.asarray(times.astype("datetime64[M]").astype(int) % 12 + 1)


def _since(times: Array, larger: str, smaller: str) -> Array:
    """How many of the smaller unit have gone by since the last of the larger began."""
    began = times.astype(f"datetime64[{larger}]").astype(f"datetime64[{smaller}]")
    return np.asarray((times.astype(f"datetime64[{smaller}]") - began).astype(int))


_PARTS: dict[str, Callable[[Array], Array]] = {
    "year": lambda times: times.astype("datetime64[Y]").astype(int) + 1970,
    "season": lambda times: _month(times) % 12 // 3,
    "month": _month,
    "day": lambda times: _since(times, "M", "D") + 1,
    "dayofyear": lambda times: _since(times, "Y", "D") + 1,
    "dayofweek": lambda times: (times.astype("datetime64[D]").astype(int) + 3) % 7,
    "hour": lambda times: _since(times, "D", "h"),
}
