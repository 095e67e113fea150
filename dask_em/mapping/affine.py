"""Centre, Scale, Standardize: features shifted and stretched."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np

from dask_em.core.block import listed
from dask_em.core.moments import FeatureMoments
from dask_em.core.records import Array
from dask_em.errors import InputError, SchemaError
from dask_em.mapping.features import Chosen, Features, chosen
from dask_em.mapping.step import MappingStep

__all__ = ["Centre", "Scale", "Standardize"]

#: a standard deviation of so many roundings of the mean is none
ROUNDINGS = 32


@final
@dataclass(frozen=True)
class Standardize(MappingStep):
    """Subtract the mean of each feature and divide by its standard deviation.

    Both are those of the rows that enter the fit, with their weights, from one more pass over the
    data. Values that are missing are left out of them. A feature that is constant is not divided.

    Parameters
    ----------
    features : sequence of str or int, optional
        Those that are standardized; by default all.
    means, scales : array (d,), optional
        As a fit has found them, both or neither; scales are above 0.
    """

    features: Any = None
    means: Array | None = None  # (d,)
    scales: Array | None = None  # (d,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", chosen(self.features))
        for name in ("means", "scales"):
            object.__setattr__(self, name, _given(getattr(self, name), f"Standardize {name}"))
        if (self.means is None) != (self.scales is None):
            raise InputError("Standardize takes both means and scales, or neither and learns them")
        if self.scales is not None and not np.all(self.scales > 0):
            raise InputError(
                f"Standardize has scales={np.asarray(self.scales).tolist()}; they must be above 0"
            )

    @property
    def needs_moments(self) -> bool:
        return self.means is None

    def bound(self, features: Features) -> Self:
        _columns(self.features, features, "Standardize")
        for name in ("means", "scales"):
            _check_length(getattr(self, name), features, f"Standardize {name}")
        return self

    def fitted(self, features: Features, moments: FeatureMoments) -> Self:
        columns = _columns(self.features, features, "Standardize")
        means, scales = np.zeros(features.n), np.ones(features.n)
        means[columns] = moments.mean[columns]
        deviation = moments.deviation
        constant = deviation <= ROUNDINGS * np.finfo(float).eps * np.abs(moments.mean)
        changing = columns[~constant[columns]]
        scales[changing] = deviation[changing]
        flags = np.isin(np.arange(features.n), columns) & constant & (moments.mass > 0)
        if flags.any():
            warnings.warn(
                f"{int(flags.sum())} of {features.n} features are constant and were not divided by "
                f"their standard deviation of 0: {listed(flags, features.names)}; leave them out",
                UserWarning,
                stacklevel=7,  # where the user called fit
            )
        return replace(self, means=means, scales=scales)

    def after(self, features: Features) -> Features:
        return features.measured_in(_columns(self.features, features, "Standardize"), "1")

    def apply(self, values: Array, rows: slice) -> Array:
        values -= self.means
        values /= self.scales
        return values

    def undo(self, values: Array, rows: slice) -> Array:
        values *= self.scales
        values += self.means
        return values

    def undo_deviation(self, values: Array) -> Array:
        values *= self.scales
        return values


@final
@dataclass(frozen=True)
class Centre(MappingStep):
    """Subtract a value from each feature.

    Parameters
    ----------
    values : mapping of name to float, array (d,), or None
        What is subtracted, in units of the data; None for the mean, as in `Standardize`.
    features : sequence of str or int, optional
        Those whose mean is subtracted; by default all.
    """

    values: Any = None
    features: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", chosen(self.features))
        object.__setattr__(self, "values", _given(self.values, "Centre"))
        if self.values is not None and self.features is not None:
            raise InputError("Centre takes values or the features whose mean they are, not both")

    @property
    def needs_moments(self) -> bool:
        return self.values is None

    def bound(self, features: Features) -> Self:
        _columns(self.features, features, "Centre")
        if self.values is None:
            return self
        return replace(self, values=_placed(self.values, features, 0.0, "Centre"))

    def fitted(self, features: Features, moments: FeatureMoments) -> Self:
        columns = _columns(self.features, features, "Centre")
        means = np.zeros(features.n)
        means[columns] = moments.mean[columns]
        return replace(self, values=means, features=None)

    def apply(self, values: Array, rows: slice) -> Array:
        values -= self.values
        return values

    def undo(self, values: Array, rows: slice) -> Array:
        values += self.values
        return values

    def undo_deviation(self, values: Array) -> Array:
        return values


@final
@dataclass(frozen=True)
class Scale(MappingStep):
    """Multiply each feature by a factor, then add an offset.

    Parameters
    ----------
    factors : float, mapping of name to float, or array (d,)
        Not 0; features that a mapping does not name stay as they are.
    offsets : float, mapping of name to float, or array (d,)
        In the units after it.
    """

    factors: Any = 1.0
    offsets: Any = 0.0

    def __post_init__(self) -> None:
        for name in ("factors", "offsets"):
            object.__setattr__(self, name, _given(getattr(self, name), f"Scale {name}"))

    def bound(self, features: Features) -> Self:
        factors = _placed(self.factors, features, 1.0, "Scale factors")
        if not factors.all():
            raise InputError(
                f"Scale multiplies {listed(factors == 0, features.names)} by 0, so nothing of it "
                "is left; give another factor, or leave the feature out with Select"
            )
        offsets = _placed(self.offsets, features, 0.0, "Scale offsets")
        return replace(self, factors=factors, offsets=offsets)

    def after(self, features: Features) -> Features:
        changed = (self.factors != 1) | (self.offsets != 0)
        return features.measured_in(np.flatnonzero(changed), None)

    def apply(self, values: Array, rows: slice) -> Array:
        values *= self.factors
        values += self.offsets
        return values

    def undo(self, values: Array, rows: slice) -> Array:
        values -= self.offsets
        values /= self.factors
        return values

    def undo_deviation(self, values: Array) -> Array:
        values /= np.abs(self.factors)
        return values


def _columns(wanted: Chosen | None, features: Features, step: str) -> Array:
    """The features that a step is for; all where it does not say."""
    if wanted is None:
        return np.arange(features.n)
    return np.array(features.columns(wanted, step), dtype=int)


def _given(values: Any, what: str) -> Any:
    """Values as an archive can hold them: a number for all, pairs with names, or an array."""
    if values is None:
        return None
    if isinstance(values, Mapping):
        values = tuple(values.items())
    named = isinstance(values, tuple) and all(isinstance(one, Sequence) for one in values)
    try:
        if named and values:
            pairs = tuple((chosen(name), float(value)) for name, value in values)
            numbers = np.array([value for _, value in pairs])
            found: Any = tuple((names[0], value) for names, value in pairs if names)
        else:
            found = numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{what} are {values!r}; give a number for each feature, or a mapping of names to "
            "numbers"
        ) from error
    if not np.isfinite(numbers).all():
        raise InputError(f"{what} are {numbers.tolist()}; they must be finite")
    return found


def _placed(values: Any, features: Features, default: float, what: str) -> Array:
    """Given values as one for each feature (d,)."""
    if isinstance(values, tuple):
        placed = np.full(features.n, default)
        columns = features.columns(tuple(name for name, _ in values), what)
        placed[list(columns)] = [value for _, value in values]
        return placed
    if values.ndim == 0:
        return np.full(features.n, float(values))
    _check_length(values, features, what)
    return np.asarray(values)


def _check_length(values: Array | None, features: Features, what: str) -> None:
    if values is not None and values.shape != (features.n,):
        raise SchemaError(
            f"{what} have shape {values.shape} for {features.n} features; give one for each"
        )
