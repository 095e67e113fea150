"""Arguments of queries: what each is called, what it may be, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from dask_em.core.names import nearest
from dask_em.errors import InputError
from dask_em.service.http.faults import Refusal
from dask_em.service.job import State

__all__ = ["AFTER", "LAST", "OWNER", "STATE", "TAG", "Parameter", "parse"]

#: larger numbers are of no use to anybody
LARGEST = 10**9


@dataclass(frozen=True)
class Parameter:
    """An argument of a query."""

    name: str
    words: str  # what it says, for the description of the service
    schema: Mapping[str, Any]  # JSON Schema
    read: Callable[[str], Any]  # ValueError: what it may be
    default: Any = None


def parse(parameters: Sequence[Parameter], query: Mapping[str, Sequence[bytes]]) -> dict[str, Any]:
    """The values of all parameters, of which a query may give some.

    Raises
    ------
    Refusal
        If one is not known, is given twice, or cannot be read.
    """
    known = {parameter.name: parameter for parameter in parameters}
    told = {name: parameter.default for name, parameter in known.items()}
    for name, values in query.items():
        if name not in known:
            raise _refusal(f"the argument {name[:80]!r} is not known; {nearest(name, list(known))}")
        if len(values) > 1:
            raise _refusal(f"the argument {name!r} is given {len(values)} times; give it once")
        text = values[0].decode("utf-8", "replace")
        try:
            told[name] = known[name].read(text)
        except ValueError as error:
            raise _refusal(f"the argument {name!r} is {text[:80]!r}; give {error}") from None
    return told


def _refusal(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, InputError.__name__, message)


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text[:20]) <= LARGEST):
            raise ValueError(f"a whole number from {least} to {LARGEST:,}")
        return int(text)

    return read


def _state(text: str) -> str:
    if text not in list(State):
        raise ValueError(f"one of {', '.join(State)}")
    return text


STATE = Parameter("state", "only jobs in this state", {"enum": list(State)}, _state)
OWNER = Parameter("owner", "only jobs of this owner", {"type": "string"}, str)
TAG = Parameter("tag", "only jobs with this tag", {"type": "string"}, str)
AFTER = Parameter(
    "after",
    "only passes with a greater number",
    {"type": "integer", "minimum": 0, "maximum": LARGEST, "default": 0},
    _whole(0),
    0,
)
LAST = Parameter(
    "last",
    "how many lines",
    {"type": "integer", "minimum": 1, "maximum": LARGEST, "default": 100},
    _whole(1),
    100,
)
