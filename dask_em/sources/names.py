"""Names of features: chosen by name or pattern, and what was probably meant."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import product

from dask_em.core.names import nearest
from dask_em.errors import SchemaError

__all__ = ["answer_names", "chosen", "is_pattern"]


def is_pattern(name: str) -> bool:
    """Whether a name stands for several, such as ``temp*``."""
    return any(sign in name for sign in "*?[")


def chosen(
    wanted: Sequence[str], there: Sequence[str], numbers: Sequence[str], where: str
) -> list[str]:
    """Names for names and patterns, in their order, each once.

    Parameters
    ----------
    wanted : sequence of str
        Names, or patterns in the style of a shell.
    there : sequence of str
        All names.
    numbers : sequence of str
        Those that a pattern stands for.
    where : str
        Names the data in errors.

    Raises
    ------
    SchemaError
        If a name does not exist, with the nearest ones, or a pattern fits none.
    """
    found: list[str] = []
    for name in wanted:
        if name in there:
            found.append(name)
            continue
        fitting = [one for one in numbers if is_pattern(name) and fnmatchcase(one, name)]
        if not fitting:
            what = "no column of numbers fits" if is_pattern(name) else "there is no column"
            raise SchemaError(f"{what} {name!r} in {where}; {nearest(name, there)}")
        found += fitting
    if not found:
        raise SchemaError(f"features= names no column of {where}; name some, or leave it out")
    return list(dict.fromkeys(found))


def answer_names(name: str, trailing: Sequence[int], features: Sequence[str]) -> tuple[str, ...]:
    """The columns for answers to a query: one, or one for each place of its trailing axes."""
    if not trailing:
        return (name,)
    if name == "filled":
        return tuple(features)
    if name in ("deviation", "reconstruction"):
        return tuple(f"{feature}_{name}" for feature in features)
    return tuple("_".join((name, *map(str, place))) for place in product(*map(range, trailing)))
