"""What an estimator is given, as a Source; and the features that it remembers of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from dask_em.core.records import Array
from dask_em.engine.source import Source
from dask_em.errors import DataError, SchemaError
from dask_em.sources.arrays import NumpySource
from dask_em.sources.registry import in_memory, open_source, selectable

__all__ = ["Selection", "check_enough_rows", "features_kept_on_failure", "open_rows"]


@dataclass(frozen=True)
class Selection:
    """Which part of a store is meant, and how it is reached."""

    features: Sequence[str] | None = None
    sample_dims: Sequence[str] | None = None
    storage_options: Mapping[str, Any] | None = None

    def or_else(self, other: Selection) -> Selection:
        """What is not said here, as it is said there."""
        return Selection(
            self.features or other.features,
            self.sample_dims or other.sample_dims,
            self.storage_options or other.storage_options,
        )


def open_rows(
    estimator: Any, data: Any, sample_weight: Any, selection: Selection, *, reset: bool
) -> Source:
    """The source of an estimator's rows, checked against the features of its fit.

    Parameters
    ----------
    estimator : BaseEstimator
        Its ``n_features_in_`` and ``feature_names_in_`` are set with `reset`, checked without.
    """
    if not in_memory(data):
        source = _opened(data, sample_weight, selection)
        _note_features(estimator, source, reset)
        return source
    values = _in_memory(estimator, data, reset)
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight)
    return NumpySource(values, sample_weight, getattr(estimator, "feature_names_in_", None))


def _opened(data: Any, sample_weight: Any, selection: Selection) -> Source:
    chosen = selection if selectable(data) else Selection()
    return open_source(
        data,
        sample_weight=sample_weight,
        features=chosen.features,
        sample_dims=chosen.sample_dims,
        storage_options=chosen.storage_options,
    )


def _in_memory(estimator: Any, data: Any, reset: bool) -> Array:
    if isinstance(data, np.ma.MaskedArray):  # scikit-learn would drop the mask
        dtype = np.float32 if data.dtype == np.float32 else np.float64
        data = np.ma.filled(data.astype(dtype), np.nan)
    if getattr(data, "ndim", 2) > 2:
        _check_count(estimator, np.shape(data)[-1], reset)
        if reset and hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
        return np.asarray(data)
    values: Array = validate_data(
        estimator,
        data,
        reset=reset,
        dtype=[np.float64, np.float32],
        ensure_all_finite=False,  # the first pass looks, and names the policy
        ensure_min_samples=2 if reset else 1,
    )
    return values


def _note_features(estimator: Any, source: Source, reset: bool) -> None:
    names = source.schema.feature_names
    _check_count(estimator, source.schema.n_features, reset)
    if reset:
        if names is not None:
            estimator.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
        return
    known = getattr(estimator, "feature_names_in_", None)
    if known is not None and names is not None and list(known) != list(names):
        raise SchemaError(
            f"{source.schema.describe} has the features {_abridged(names)}, but the model was "
            f"fitted to {_abridged(tuple(known))}; select the same ones in the same order"
        )


def _check_count(estimator: Any, found: int, reset: bool) -> None:
    if reset:
        estimator.n_features_in_ = found
    elif found != estimator.n_features_in_:
        raise SchemaError(
            f"X has {found} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input"
        )


@contextmanager
def features_kept_on_failure(estimator: Any) -> Iterator[None]:
    """A fit that fails leaves an estimator as it was fitted before."""
    names = ("n_features_in_", "feature_names_in_")
    before = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}
    try:
        yield
    except BaseException:
        if hasattr(estimator, "outcome_"):
            for name in names:
                vars(estimator).pop(name, None)
            vars(estimator).update(before)
        raise


def check_enough_rows(source: Source, n_components: int) -> None:
    """Refuse fewer rows than components before any pass, where the number is known."""
    rows = source.schema.n_rows
    if rows is not None and rows < n_components:
        raise DataError(
            f"Expected n_samples >= n_components but got n_components = {n_components}, "
            f"n_samples = {rows}"
        )


def _abridged(names: Sequence[Any]) -> str:
    text = ", ".join(str(name) for name in names[:6])
    return text if len(names) <= 6 else f"{text}, ... ({len(names)} in all)"
