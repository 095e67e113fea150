"""Chain: steps one after the other, recorded with a model; LocatedChain: where rows lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from dask_em.core.records import Array, Record
from dask_em.errors import InputError, SchemaError
from dask_em.mapping.features import Features
from dask_em.mapping.groups import Groups
from dask_em.mapping.select import Select
from dask_em.mapping.step import Applied, MappingStep, Region, Samples

__all__ = ["Chain", "LocatedChain"]

#: rows that go through all steps at a time, in float64
PART_ROWS = 1 << 13


@final
@dataclass(frozen=True)
class Chain(Record):
    """Steps one after the other. Made by `of`.

    Parameters
    ----------
    steps : tuple of MappingStep
    """

    steps: tuple[MappingStep, ...] = ()

    @classmethod
    def of(cls, given: Any) -> Chain:
        """One step, several, a chain, or None for none.

        Raises
        ------
        InputError
            If it is something else.
        """
        if given is None:
            return cls()
        if isinstance(given, Chain):
            return given
        several = isinstance(given, Iterable) and not isinstance(given, type | str)
        steps = tuple(given) if several else (given,)
        for step in steps:
            if not isinstance(step, MappingStep):
                raise InputError(
                    f"mapping has {step!r}, which is no step; give for example "
                    "mapping=[Log(['chlorophyll']), Standardize()]"
                )
        return cls(steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[MappingStep]:
        return iter(self.steps)

    @property
    def of_model(self) -> Chain:
        """The steps that are kept with a model."""
        return Chain(tuple(step for step in self.steps if not step.of_data))

    @property
    def of_data(self) -> Chain:
        """The steps that belong to the rows."""
        return Chain(tuple(step for step in self.steps if step.of_data))

    @property
    def needs_moments(self) -> bool:
        """Whether a pass over data has to tell it something."""
        return any(step.needs_moments for step in self.steps)

    def bound(self, features: Features) -> Chain:
        """The same for these features."""
        steps = []
        for step in self.steps:
            steps.append(step.bound(features))
            features = steps[-1].after(features)
        return Chain(tuple(steps))

    def after(self, features: Features) -> Features:
        """The features that bound steps make of features."""
        for step in self.steps:
            features = step.after(features)
        return features

    def survivors(self, n_features: int) -> tuple[int, ...]:
        """Which of so many features are left, in the order after bound steps."""
        left = tuple(range(n_features))
        for step in self.steps:
            if isinstance(step, Select) and step.columns is not None:
                left = tuple(left[one] for one in step.columns)
        return left

    def undo(self, values: Array, n_features: int) -> Array:
        """Mapped rows (n, d), of no known place, as they were; see `LocatedChain.undo`.

        Raises
        ------
        InputError
            If that depends on the place.
        """
        left = self.survivors(n_features)
        return LocatedChain(self.steps, n_features, len(left), left).undo(values)

    def for_rows(self, given: Chain) -> Chain:
        """The steps of a model, with those that belong to other rows."""
        for step in given.steps:
            if not step.of_data:
                raise InputError(
                    f"mapping has {type(step).__name__}, but the model maps rows as it was fitted; "
                    "only RowMask and Groups, which belong to the rows, are given again"
                )
        return Chain((*given.steps, *self.of_model.steps))

    def located(self, features: Features, samples: Samples | None, describe: str) -> LocatedChain:
        """Bound steps on the sample axes of a source.

        Parameters
        ----------
        samples : Samples, or None
            None where nobody knows where rows lie.
        describe : str
            The source, for errors.
        """
        groups = [step for step in self.steps if isinstance(step, Groups)]
        if len(groups) > 1:
            raise InputError(
                f"mapping has {len(groups)} Groups, and it is not known which one an Anomaly is "
                "for; give one"
            )
        if samples is not None and groups:
            samples = replace(samples, groups=groups[0])
        parts: list[Applied] = []
        n_before, survivors = features.n, self.survivors(features.n)
        for step in self.steps:
            if samples is None:
                if step.of_places:
                    raise SchemaError(
                        f"{type(step).__name__} has to know where rows lie, but the lengths of the "
                        f"chunks of {describe} are not known; call compute_chunk_sizes() on a dask "
                        "array; leave out rows of Parquet with where=, those of a dask DataFrame "
                        "with its .query()"
                    )
                parts.append(step)
            else:
                parts.append(step.located(features, samples))
            features = step.after(features)
        return LocatedChain(tuple(parts), n_before, features.n, survivors)


@final
@dataclass(frozen=True)
class LocatedChain:
    """What is done to rows of a source, and undone in answers for them; small and picklable."""

    parts: tuple[Applied, ...]
    n_before: int  # features of the source
    n_features: int  # after it
    survivors: tuple[int, ...]  # which features of the source these are

    def cut(self, region: Region) -> LocatedChain:
        """The same for rows within a region."""
        return replace(self, parts=tuple(part.cut(region) for part in self.parts))

    def at(self, region: Region | None) -> LocatedChain:
        """The same for the rows of one chunk."""
        return replace(self, parts=tuple(part.at(region) for part in self.parts))

    def kept(self) -> Array | None:
        """(n,) which rows of a chunk are wanted; None for all."""
        masks = [mask for mask in (part.kept() for part in self.parts) if mask is not None]
        return np.logical_and.reduce(masks) if masks else None

    def apply(self, values: Array) -> tuple[Array, list[str]]:
        """Rows (n, d) of a chunk, mapped, in the same dtype; and why some values were lost."""
        counts = [np.zeros(len(part.lossy), dtype=int) for part in self.parts]

        def forth(part: Array, rows: slice) -> Array:
            for step, count in zip(self.parts, counts, strict=True):
                watched = list(step.lossy)
                before = np.isnan(part[:, watched]).sum(axis=0) if watched else 0
                part = step.apply(part, rows)
                if watched:
                    np.add(count, np.isnan(part[:, watched]).sum(axis=0) - before, out=count)
            return part

        mapped = _by_parts(values, forth, self.n_features)
        pairs = zip(self.parts, counts, strict=True)
        return mapped, [part.lost(lost) for part, lost in pairs if lost.any()]

    def undo(self, values: Array) -> Array:
        """Mapped rows (n, d) of a chunk as they were; features that were left out are NaN."""

        def back(part: Array, rows: slice) -> Array:
            for step in reversed(self.parts):
                part = step.undo(part, rows)
            return part

        return _by_parts(values, back, self.n_before)

    def undo_deviation(self, values: Array) -> Array:
        """Standard deviations of mapped rows in units of the data."""

        def back(part: Array, _: slice) -> Array:
            for step in reversed(self.parts):
                part = step.undo_deviation(part)
            return part

        return _by_parts(values, back, self.n_before)


def _by_parts(values: Array, change: Callable[[Array, slice], Array], d: int) -> Array:
    """Change rows in float64, some at a time, and round them once."""
    whole = np.empty((len(values), d), values.dtype)
    # what is too large becomes infinite, and that is refused where rows are looked at
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(values), PART_ROWS):
            rows = slice(start, min(start + PART_ROWS, len(values)))
            whole[rows] = change(values[rows].astype(np.float64), rows)
    return whole
