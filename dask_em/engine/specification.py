"""Specifications: all that decides the numbers of a fit, a pass or answers, as named facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_em.core.model import Model
from dask_em.core.records import Array, Record
from dask_em.engine.fingerprint import Facts, Fingerprint, digest
from dask_em.errors import InputError

if TYPE_CHECKING:
    from dask_em.engine.predict import Prediction

__all__ = ["answers_specification", "pass_specification", "specification"]


def specification(
    model: Model[Any, Any],
    source: Fingerprint,
    start: Record | None,
    rng: np.random.Generator | Sequence[np.random.Generator] | None,
    options: Facts,
) -> dict[str, Any]:
    """All that decides the numbers of a fit, by name; when it stops is not among it.

    Parameters
    ----------
    model : Model
    source : Fingerprint
    start : Record, optional
        Parameters that were given.
    rng : numpy.random.Generator, or several, optional
        As given; where none was, chance is not part of the fit.
    options : mapping
    """
    return {
        **_facts("model", model),
        **pass_specification(source, options),
        **({"start": None} if start is None else _facts("start", start)),
        "rng": None if rng is None else _chance(rng),
    }


def answers_specification(
    prediction: Prediction, source: Fingerprint, outputs: Facts
) -> dict[str, Any]:
    """All that decides the numbers of answers that are written, and where they go, by name.

    When the rows were written is among it: unlike a fit, which looks at all rows again, answers
    that go on would be in part those of other rows.

    Parameters
    ----------
    prediction : Prediction
    source : Fingerprint
        Of the rows.
    outputs : mapping
        Where answers go, and what is copied to stand beside them.

    Raises
    ------
    InputError
        If the model is not a record, so that nobody knows whether it is the same.
    """
    model, reading = prediction.model, prediction.reading
    if not isinstance(model, Record):
        raise InputError(
            f"answers of a {type(model).__name__} cannot be kept in a checkpoint, because it is no "
            "Record, which tells what it is made of; derive it from dask_em's Model"
        )
    missing = None if reading.missing is None else reading.missing.policy
    return {
        **_facts("model", model),
        **_facts("parameters", prediction.parameters),
        **{f"the rows' {name}": fact for name, fact in source.facts.items()},
        "the rows' last change": source.written,
        "missing": missing,
        "on_bad_chunk": reading.on_bad_chunk,
        "answers": ", ".join(f"{q.name} {q.dtype} {q.trailing}" for q in prediction.queries),
        **outputs,
    }


def pass_specification(source: Fingerprint, options: Facts) -> dict[str, Any]:
    """All that decides what a pass over rows finds that no model sees."""
    return {**{f"the rows' {name}": fact for name, fact in source.facts.items()}, **options}


def _chance(rng: np.random.Generator | Sequence[np.random.Generator]) -> str:
    if isinstance(rng, Sequence):
        return digest([one.bit_generator.state for one in rng])
    return digest(rng.bit_generator.state)


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
