"""Records: frozen values that know their fields; Additive: records that form a vector space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from dask_em.errors import ArchiveError, StatisticsError

__all__ = ["Additive", "Array", "Parameters", "Record", "Statistics"]

Array: TypeAlias = npt.NDArray[Any]

#: dataclass metadata of a field that says where sums live and is never summed itself
FIXED = {"fixed": True}
#: dataclass metadata of a field that is not part of the value: left out of archives
TRANSIENT = {"transient": True}


@dataclass(frozen=True)
class Record:
    """A frozen value whose fields are numbers, strings, arrays, tuples of these, or records.

    Subclasses are frozen dataclasses. Each is known by its class name, so that an archive
    can be read back without pickle.
    """

    _known: ClassVar[dict[str, type[Record]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        other = Record._known.get(cls.__name__)
        if (
            other is not None
            and other.__module__.startswith("dask_em.")
            and other.__module__ != cls.__module__
        ):
            raise TypeError(
                f"a Record named {cls.__name__!r} is part of {other.__module__}, and archives know "
                "records by their names; choose another name"
            )
        Record._known[cls.__name__] = cls

    def flatten(self, transient: bool = False) -> tuple[dict[str, Any], dict[str, Array]]:
        """Split into a JSON-ready tree and the arrays it refers to by dotted name.

        With `transient`, fields that archives leave out are there as well.
        """
        arrays: dict[str, Array] = {}
        tree = _encode(self, "", arrays, transient)
        assert isinstance(tree, dict)
        return tree, arrays

    @staticmethod
    def unflatten(tree: Mapping[str, Any], arrays: Mapping[str, Array]) -> Record:
        """Rebuild what `flatten` split.

        Raises
        ------
        ArchiveError
            If the tree names a type that is not installed, or fields that the type lacks.
        """
        value = _decode(tree, arrays)
        if not isinstance(value, Record):
            raise ArchiveError(f"expected a record, found {type(value).__name__}")
        return value

    @staticmethod
    def fixed_of(name: str) -> set[str]:
        """The fields of a type of records, by its name, that say where sums live."""
        return {one.name for one in fields(Record._known[name]) if one.metadata.get("fixed")}

    def __getstate__(self) -> dict[str, Any]:
        # what was computed from the fields is computed again where it arrives
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def equals(self, other: object) -> bool:
        """Whether both hold the same type and the same bits."""
        if type(self) is not type(other):
            return False
        assert isinstance(other, Record)
        mine, theirs = self.flatten(), other.flatten()
        return mine[0] == theirs[0] and all(
            _same_bits(value, theirs[1][name]) for name, value in mine[1].items()
        )


@dataclass(frozen=True)
class Additive(Record):
    """A record that adds field by field.

    Fields declared with metadata `FIXED` say where the sums live (an origin, a frame); they
    must be equal on both sides.
    """

    def __add__(self, other: Self) -> Self:
        return self._combined(other, 1.0)

    def __sub__(self, other: Self) -> Self:
        return self._combined(other, -1.0)

    def __mul__(self, factor: float) -> Self:
        return replace(self, **{name: getattr(self, name) * factor for name in self._summed()})

    __rmul__ = __mul__

    def _combined(self, other: Self, sign: float) -> Self:
        if type(self) is not type(other):
            raise StatisticsError(
                f"cannot add {type(other).__name__} to {type(self).__name__}; "
                "statistics add only within one model"
            )
        self._check_same_place(other)
        changed = {}
        for name in self._summed():
            mine, theirs = getattr(self, name), getattr(other, name)
            changed[name] = mine + theirs if sign > 0 else mine - theirs
        return replace(self, **changed)

    @classmethod
    def _summed(cls) -> list[str]:
        return [field.name for field in fields(cls) if not field.metadata.get("fixed")]

    def _check_same_place(self, other: Self) -> None:
        for field in fields(self):
            if not field.metadata.get("fixed"):
                continue
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            same = mine.equals(theirs) if isinstance(mine, Record) else _same_bits(mine, theirs)
            if not same:
                raise StatisticsError(
                    f"{type(self).__name__} with different {field.name} were added "
                    f"({_brief(mine)} and {_brief(theirs)}); accumulate both with the same "
                    "parameters"
                )


@dataclass(frozen=True)
class Statistics(Additive):
    """Sums over rows: all that the M-step and the stopping rule need."""

    mass: float  # sum of the row weights; the number of rows when there are none
    log_likelihood: float  # nats, summed over the rows with their weights


@dataclass(frozen=True)
class Parameters(Record):
    """What a model estimates."""


def _encode(value: Any, name: str, arrays: dict[str, Array], transient: bool) -> Any:
    if isinstance(value, Record):
        inner = {
            field.name: _encode(
                getattr(value, field.name), f"{name}.{field.name}".lstrip("."), arrays, transient
            )
            for field in fields(value)
            if transient or not field.metadata.get("transient")
        }
        return {"record": type(value).__name__, "fields": inner}
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {"array": name}
    if isinstance(value, tuple | list):
        return [
            _encode(item, f"{name}.{index}", arrays, transient) for index, item in enumerate(value)
        ]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ArchiveError(f"field {name!r} holds a {type(value).__name__}, which cannot be archived")


def _decode(tree: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(tree, list):
        return tuple(_decode(item, arrays) for item in tree)
    if not isinstance(tree, Mapping):
        return tree
    if "array" in tree:
        return arrays[tree["array"]]
    if "float" in tree:
        return float(tree["float"])
    known = Record._known.get(tree["record"])
    if known is None:
        raise ArchiveError(
            f"the archive holds a {tree['record']!r}, which is not installed here; "
            "install or import the package that defines it"
        )
    try:
        return known(**{key: _decode(item, arrays) for key, item in tree["fields"].items()})
    except TypeError as error:
        raise ArchiveError(f"fields of {tree['record']!r} do not fit: {error}") from error


def _same_bits(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return (
            left.shape == right.shape
            and left.dtype == right.dtype
            and bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))
        )
    return bool(left == right)


def _brief(value: Any) -> str:
    text = np.array2string(value, threshold=4) if isinstance(value, np.ndarray) else repr(value)
    return text if len(text) < 80 else text[:77] + "..."
