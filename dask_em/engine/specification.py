"""The specification of a fit: all that decides its numbers, as named facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dask_em.core.model import Model
from dask_em.core.records import Array, Record
from dask_em.engine.fingerprint import Facts, Fingerprint, digest

__all__ = ["specification"]


def specification(
    model: Model[Any, Any],
    source: Fingerprint,
    start: Record | None,
    rng: np.random.Generator | None,
    options: Facts,
) -> dict[str, Any]:
    """All that decides the numbers of a fit, by name; when it stops is not among it.

    Parameters
    ----------
    model : Model
    source : Fingerprint
    start : Record, optional
        Parameters that were given.
    rng : numpy.random.Generator, optional
        As it was given; where it was not, chance is not part of the fit.
    options : mapping
    """
    chance = None if rng is None else digest(rng.bit_generator.state)
    return {
        **_facts("model", model),
        **{f"the rows' {name}": fact for name, fact in source.facts.items()},
        **options,
        **({"start": None} if start is None else _facts("start", start)),
        "rng": chance,
    }


def _facts(name: str, record: Record) -> dict[str, Any]:
    tree, arrays = record.flatten()
    return dict(_leaves(name, tree, arrays))


def _leaves(name: str, tree: Any, arrays: Mapping[str, Array]) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _leaves(f"{name}[{index}]", item, arrays)
    elif not isinstance(tree, dict):
        yield name, tree
    elif "record" in tree:
        yield name, tree["record"]
        for field, value in tree["fields"].items():
            yield from _leaves(f"{name}.{field}", value, arrays)
    elif "array" in tree:
        values = arrays[tree["array"]]
        yield name, f"{values.dtype} {values.shape} #{digest(values.tobytes())}"
    else:
        yield name, tree["float"]
