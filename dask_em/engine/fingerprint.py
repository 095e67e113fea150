"""Fingerprint: what tells one source from another, and from itself after a change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dask_em.core.records import Array
from dask_em.errors import SourceError

if TYPE_CHECKING:
    from dask_em.engine.source import Schema, Source

__all__ = ["Facts", "Fingerprint", "Watch", "differences", "digest", "probe"]

#: named values that JSON knows
Facts: TypeAlias = Mapping[str, bool | int | float | str | None]

#: values of an array in memory that are looked at
PROBED_VALUES = 4096
#: differences that are told; those of two sweeps may be hundreds
MOST_TOLD = 6


@dataclass(frozen=True)
class Fingerprint:
    """What is known of a source without a pass over its rows.

    Parameters
    ----------
    facts : mapping
        Of the rows. A copy of a store elsewhere has the same, its path is not among them.
    written : str, optional
        Another one whenever something is written; that of a copy is its own.
    """

    facts: Facts
    written: str | None = None

    @classmethod
    def of(
        cls, schema: Schema, facts: Facts | None = None, written: str | None = None
    ) -> Fingerprint:
        """With what a schema tells."""
        names = schema.feature_names
        known: dict[str, Any] = {
            "rows": None if schema.sample_shape is None else str(schema.sample_shape),
            "features": schema.n_features if names is None else digest(list(names)),
            "dtype": str(schema.dtype),
            # sums are taken chunk by chunk: other chunks, other bits
            "chunks": f"{schema.n_chunks} #{digest(schema.sample_chunks)}",
        }
        return cls({**known, **(facts or {})}, written)


class Watch:
    """Sees whether a source changes under a fit."""

    def __init__(self, source: Source) -> None:
        self._source = source
        # nobody but its owner writes to this process's memory
        self._begin = None if source.local else source.fingerprint()

    def check(self) -> None:
        """Compare the source with what it was.

        Raises
        ------
        SourceError
            If it changed.
        """
        if self._begin is None:
            return
        now = self._source.fingerprint()
        if now == self._begin:
            return
        found = differences(self._begin.facts, now.facts, "before", "now")
        if not found:
            found = "what is stored was written to"
        raise SourceError(
            f"{self._source.schema.describe} changed under the fit: {found}; its passes no longer "
            "belong together. Fit rows that nobody writes to, for example a copy"
        )


def differences(left: Facts, right: Facts, there: str, here: str) -> str:
    """The first facts that differ, and their values on both sides; empty if none do."""
    names = [name for name in {**left, **right} if left.get(name) != right.get(name)]
    told = [
        f"{name} is {_shown(left.get(name))} {there} and {_shown(right.get(name))} {here}"
        for name in names[:MOST_TOLD]
    ]
    more = len(names) - len(told)
    return "; ".join([*told, f"{more} more"] if more else told)


def digest(value: Any) -> str:
    """A short name for bytes, or for what JSON knows."""
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True, default=_plain).encode()
    return hashlib.sha256(value).hexdigest()[:12]


def probe(values: Array) -> str:
    """A short name for an array, from its shape, its dtype and some of its values."""
    places = np.linspace(0, values.size - 1, min(values.size, PROBED_VALUES)).astype(np.int64)
    some = values[np.unravel_index(places, values.shape)]
    if isinstance(some, np.ma.MaskedArray):
        some = np.ma.filled(some.astype(np.float64), np.nan)
    head = f"{values.shape} {values.dtype} ".encode()
    return digest(head + np.ascontiguousarray(some).tobytes())


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


def _shown(fact: Any) -> str:
    return "not given" if fact is None else str(fact)
