"""The optimum of a sample in memory, from several starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import TypeVar

from dask_em.core.climb import Climbed, Effort, climb
from dask_em.core.corrected import Rows
from dask_em.core.geometry import Geometry
from dask_em.core.records import Parameters, Statistics
from dask_em.core.surrogate import Surrogate
from dask_em.errors import DegenerateError

__all__ = ["optimum"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: levels of a sample grow by this factor
GROWTH = 4
#: rows for each free parameter of the smallest of them
ROWS_PER_PARAMETER = 20


def optimum(
    geometry: Geometry[P, S],
    sample: Rows[P, S],
    starts: Sequence[P],
    n_free: int,
    is_usable: Callable[[P], bool] = lambda _: True,
) -> Climbed[P]:
    """The best optimum of a sample that some starts lead to, by way of samples of the sample.

    At each level the better half of the starts goes on, climbed to a share of the level's
    statistical error. A start that is the only one is also climbed from on the whole sample: small
    samples lead past plateaus, but also out of a basin that is the better one.

    Raises
    ------
    DegenerateError
        If no start is a place to climb from.
    """
    levels = [len(sample)]
    while levels[0] // GROWTH >= ROWS_PER_PARAMETER * n_free:
        levels.insert(0, levels[0] // GROWTH)
    found = [Climbed(start, 0.0, 0) for start in starts if is_usable(start)]
    if not found:
        raise DegenerateError(
            f"none of {len(starts)} starts can be evaluated on the sample; use fewer components or "
            "another start"
        )
    for level, n_rows in enumerate(levels):
        rows = sample if n_rows == len(sample) else sample.first(n_rows)
        if level:
            # more rows than they were fitted to tell which of them is the better
            found = _better_half(rows, found)
        if len(starts) == 1 < len(levels) == level + 1:
            found.append(Climbed(starts[0], 0.0, 0))
        share = 0.1 if n_rows < len(sample) else 0.01
        effort = Effort(1e-12, share * n_free / (2 * n_rows), 800, em_steps=15)
        found = [_climbed(geometry, rows, one.parameters, effort) for one in found]
    usable = [one for one in found if is_usable(one.parameters)]
    return max(usable or found, key=lambda one: _objective(sample, one))


def _objective(rows: Rows[P, S], found: Climbed[P]) -> float:
    statistics = rows.expect(found.parameters)
    value = statistics.log_likelihood / statistics.mass
    return value if isfinite(value) else -inf


def _better_half(rows: Rows[P, S], found: Sequence[Climbed[P]]) -> list[Climbed[P]]:
    """In the order of their likelihood, the first of equals first."""
    ranked = sorted(found, key=lambda one: -_objective(rows, one))
    return ranked[: -(-len(ranked) // 2)]


def _climbed(geometry: Geometry[P, S], rows: Rows[P, S], start: P, effort: Effort) -> Climbed[P]:
    surrogate = Surrogate.around(geometry, rows.expect, start, rows.expect(start))
    return climb(surrogate, start, effort)
