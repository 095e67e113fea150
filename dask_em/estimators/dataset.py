"""Fitted parameters as an xarray Dataset, with named features."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import xarray as xr

from dask_em.estimators.gaussian_mixture import GaussianMixture
from dask_em.estimators.ppca import PPCA

__all__ = ["dataset_of"]

#: a feature that is one of several of a variable, e.g. ``temperature[pressure=30]``
OF_VARIABLE = re.compile(r"(?P<variable>[^\[\]]*)\[(?P<labels>[^\[\]]*)\]")
#: the axes of covariances and of what is like them
SHAPES = {
    "full": ("component", "feature", "other_feature"),
    "tied": ("feature", "other_feature"),
    "diag": ("component", "feature"),
    "spherical": ("component",),
}


@singledispatch
def dataset_of(estimator: Any) -> xr.Dataset:
    """The parameters of a fitted estimator."""
    raise AssertionError(f"{type(estimator).__name__} has no parameters with names")


@dataset_of.register
def _(estimator: GaussianMixture) -> xr.Dataset:
    kind = estimator.covariance_type
    return _dataset(
        estimator,
        {
            "weight": (("component",), estimator.weights_, "share of the rows"),
            "mean": (("component", "feature"), estimator.means_, "mean of a component"),
            "covariance": (SHAPES[kind], estimator.covariances_, "covariance of a component"),
        },
        {
            "model": "GaussianMixture",
            "covariance_type": kind,
            "log_likelihood": float(estimator.lower_bound_),
            "iterations": int(estimator.n_iter_),
            "converged": int(estimator.converged_),
        },
        len(estimator.weights_),
    )


@dataset_of.register
def _(estimator: PPCA) -> xr.Dataset:
    ratio = estimator.explained_variance_ratio_
    return _dataset(
        estimator,
        {
            "mean": (("feature",), estimator.mean_, "mean of the rows"),
            "axis": (("component", "feature"), estimator.components_, "principal axes"),
            "loading": (("feature", "component"), estimator.loadings_, "loadings, W"),
            "explained_variance": (("component",), estimator.explained_variance_, "along an axis"),
            "explained_variance_ratio": (("component",), ratio, "share of the variance"),
            "noise_variance": ((), estimator.noise_variance_, "variance of the noise"),
        },
        {
            "model": "PPCA",
            "iterations": int(estimator.n_iter_),
            "converged": int(estimator.converged_),
        },
        int(estimator.n_components_),
    )


def _dataset(
    estimator: Any,
    parameters: dict[str, tuple[tuple[str, ...], Any, str]],
    attributes: dict[str, Any],
    k: int,
) -> xr.Dataset:
    names = estimator.feature_names_
    d = next(
        np.shape(values)[dims.index("feature")]
        for dims, values, _ in parameters.values()
        if "feature" in dims
    )
    labels = [str(i) for i in range(d)] if names is None else [str(name) for name in names]
    coordinates: dict[str, Any] = {
        "component": np.arange(k),
        "feature": np.array(labels, dtype=np.str_),
        **_levels(labels),
    }
    units = estimator.feature_units_
    if units is not None:
        text = np.array(["" if unit is None else str(unit) for unit in units], dtype=np.str_)
        coordinates["units"] = ("feature", text)
    if any("other_feature" in dims for dims, _, _ in parameters.values()):
        coordinates["other_feature"] = coordinates["feature"]
    found = {
        name: (dims, np.asarray(values), {"long_name": text})
        for name, (dims, values, text) in parameters.items()
    }
    return xr.Dataset(found, coordinates, attributes)


def _levels(labels: Sequence[str]) -> dict[str, Any]:
    """Coordinates of the features: their variable, and their places along its other dimensions.

    Empty where no feature is one of several of a variable. A feature that has no place along a
    dimension has NaN, or no text, there.
    """
    found = [OF_VARIABLE.fullmatch(label) for label in labels]
    if not any(found):
        return {}
    variables = [m["variable"] if m else label for m, label in zip(found, labels, strict=True)]
    places = [_places(m["labels"]) if m else {} for m in found]
    dims = dict.fromkeys(dim for place in places for dim in place)
    taken = {"component", "feature", "other_feature", "units", "variable"}
    return {
        "variable": ("feature", np.array(variables, dtype=np.str_)),
        **{
            dim: ("feature", _typed([place.get(dim) for place in places]))
            for dim in dims
            if dim not in taken
        },
    }


def _places(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(","))
    return {dim: value for dim, sign, value in pairs if sign}


def _typed(values: Sequence[str | None]) -> np.ndarray:
    try:
        return np.array([np.nan if value is None else float(value) for value in values])
    except ValueError:
        return np.array([value or "" for value in values], dtype=np.str_)
