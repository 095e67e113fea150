"""The features that an estimator was fitted to: their number, names and units."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_em.core.names import abridged
from dask_em.engine.source import Schema
from dask_em.errors import SchemaError
from dask_em.mapping.features import Features

__all__ = ["check_count", "features_in", "forget_names", "note_features", "noted_features"]


def features_in(estimator: Any) -> Features:
    """Those of the data that it was fitted to, before any mapping."""
    names = getattr(estimator, "feature_names_in_", None)
    return Features(
        int(estimator.n_features_in_),
        None if names is None else tuple(str(name) for name in names),
        getattr(estimator, "feature_units_in_", None),
    )


def note_features(estimator: Any, schema: Schema, reset: bool) -> None:
    """Remember the features of data, or compare them with those that are remembered.

    Raises
    ------
    SchemaError
        If they differ; it names them.
    """
    names, units = schema.feature_names, schema.feature_units
    if reset:
        check_count(estimator, schema.n_features, reset)
        forget_names(estimator)
        if names is not None:
            estimator.feature_names_in_ = np.array(names, dtype=object)
        if units is not None and any(unit is not None for unit in units):
            estimator.feature_units_in_ = tuple(units)
        return
    known = features_in(estimator).names
    if known is not None and names is not None and known != names:
        raise SchemaError(_differences(schema.describe, names, known))
    check_count(estimator, schema.n_features, reset)
    _compare_units(estimator, schema)


def noted_features(estimator: Any) -> dict[str, Any]:
    """The attributes that tell the features of its fit, as far as there are any."""
    names = ("n_features_in_", "feature_names_in_", "feature_units_in_")
    return {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}


def forget_names(estimator: Any) -> None:
    """As if it had been fitted to features without names."""
    for name in ("feature_names_in_", "feature_units_in_"):
        vars(estimator).pop(name, None)


def check_count(estimator: Any, found: int, reset: bool) -> None:
    """Remember the number of features, or compare it with that of the fit."""
    if reset:
        estimator.n_features_in_ = found
    elif found != estimator.n_features_in_:
        raise SchemaError(
            f"X has {found} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input"
        )


def _differences(describe: str, names: Sequence[str], known: Sequence[str]) -> str:
    """How the names of features differ from those of a fit, and what to do."""
    missing = [name for name in known if name not in names]
    extra = [name for name in names if name not in known]
    if not missing and not extra and len(names) == len(known):
        return (
            f"{describe} has the features in another order, {abridged(names)}; the model was "
            f"fitted to {abridged(known)}; select the same ones in the same order with "
            "features=[...]"
        )
    said = [f"lacks {abridged(missing)}"] * bool(missing)
    said += [f"also has {abridged(extra)}"] * bool(extra)
    return (
        f"{describe} {' and '.join(said) or 'names a feature twice'}; the model was fitted to "
        f"{abridged(known)}; select the same ones in the same order with features=[...]"
    )


def _compare_units(estimator: Any, schema: Schema) -> None:
    known, found = features_in(estimator), schema.feature_units
    if known.units is None or found is None:
        return
    names = known.names or tuple(map(str, range(known.n)))
    told = [
        f"{name} is in {here!r} and was in {there!r}"
        for name, here, there in zip(names, found, known.units, strict=True)
        if here is not None and there is not None and here != there
    ]
    if told:
        warnings.warn(
            f"{schema.describe} has other units than the data of the fit: {abridged(told)}; "
            "convert them, unless that is another spelling",
            UserWarning,
            stacklevel=6,  # where the user asked
        )
