"""Fitted estimators in archives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np

from dask_em import archive
from dask_em.core.records import Array, Record
from dask_em.core.stopping import Outcome
from dask_em.engine.monitor import PassRecord
from dask_em.errors import ArchiveError
from dask_em.estimators.fitting import set_arrays
from dask_em.estimators.gaussian_mixture import GaussianMixture
from dask_em.estimators.latent import show_latent
from dask_em.estimators.ppca import PPCA
from dask_em.estimators.rows import Selection
from dask_em.mapping.chain import Chain
from dask_em.models.mixture import MixtureParameters
from dask_em.models.ppca_parameters import PPCAParameters

__all__ = ["SavedMapped", "SavedMixture", "SavedPPCA", "load", "save"]


@dataclass(frozen=True)
class SavedMixture(Record):
    """The arrays of a fitted GaussianMixture."""

    parameters: MixtureParameters
    weights_init: Array | None
    means_init: Array | None
    precisions_init: Array | None
    lower_bounds: tuple[float, ...]  # nats per row
    history: tuple[PassRecord, ...]


@dataclass(frozen=True)
class SavedPPCA(Record):
    """The arrays of a fitted PPCA."""

    parameters: PPCAParameters
    history: tuple[PassRecord, ...]


@dataclass(frozen=True)
class SavedMapped(Record):
    """A fitted estimator of rows that are mapped."""

    estimator: Record
    mapping: Chain


def save(
    estimator: Any,
    url: Any,
    *,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Write a fitted estimator.

    Raises
    ------
    ArchiveError
        If something is there already and `overwrite` is not set, or it cannot be written.
    """
    record, more = _saved(estimator)
    mapping: Chain | None = getattr(estimator, "mapping_", None)
    if mapping is not None:
        record = SavedMapped(record, mapping)
    units = getattr(estimator, "feature_units_in_", None)
    facts = {
        "params": _params(estimator),
        "converged": bool(estimator.converged_),
        "n_iter": int(estimator.n_iter_),
        "outcome": estimator.outcome_.name,
        "n_features": int(estimator.n_features_in_),
        "feature_names": [str(name) for name in getattr(estimator, "feature_names_in_", [])],
        "feature_units": None if units is None else list(units),
        "selection": _selection(estimator),
        **more,
    }
    archive.save(url, record, facts, overwrite=overwrite, storage_options=storage_options)


def load(url: Any, storage_options: Mapping[str, Any] | None = None) -> Any:
    """A fitted estimator that was saved with its ``save`` method.

    Parameters
    ----------
    url : str or path
        Where it was saved.
    storage_options : mapping, optional
        What fsspec needs to open the URL.

    Returns
    -------
    GaussianMixture or PPCA

    Raises
    ------
    ArchiveError
        If nothing is there, or it is not a whole model, or a newer dask_em wrote it.
    """
    archived = archive.load(url, storage_options=storage_options)
    record, facts, mapping = archived.record, archived.facts, None
    if isinstance(record, SavedMapped):
        mapping, record = record.mapping, record.estimator
    if not isinstance(record, SavedMixture | SavedPPCA):
        raise ArchiveError(
            f"{url} holds a {type(record).__name__}, not a fitted estimator; read it with "
            "dask_em.archive.load"
        )
    estimator = _revived(record, facts)
    estimator.history_ = list(record.history)
    estimator.converged_, estimator.n_iter_ = facts["converged"], facts["n_iter"]
    estimator.outcome_ = Outcome[facts["outcome"]]
    estimator.n_features_in_ = facts["n_features"]
    if facts["feature_names"]:
        estimator.feature_names_in_ = np.array(facts["feature_names"], dtype=object)
    if facts.get("feature_units"):  # archives of the first releases have none
        estimator.feature_units_in_ = tuple(facts["feature_units"])
    estimator._selection = Selection(**facts["selection"])
    estimator.mapping_ = mapping
    return estimator


@singledispatch
def _saved(estimator: Any) -> tuple[Record, dict[str, Any]]:
    """The arrays of an estimator, and what else is to be remembered of one of its kind."""
    raise ArchiveError(f"{type(estimator).__name__} is not one of the estimators that are saved")


@_saved.register
def _(estimator: GaussianMixture) -> tuple[Record, dict[str, Any]]:
    given: dict[str, Any] = {name: _optional(getattr(estimator, name)) for name in _GIVEN}
    record = SavedMixture(
        parameters=estimator._parameters,
        **given,
        lower_bounds=tuple(float(bound) for bound in estimator.lower_bounds_),
        history=tuple(estimator.history_),
    )
    return record, {
        "estimator": "GaussianMixture",
        "dtype": str(np.dtype(estimator.means_.dtype)),
        "lower_bound": float(estimator.lower_bound_),
    }


@_saved.register
def _(estimator: PPCA) -> tuple[Record, dict[str, Any]]:
    record = SavedPPCA(estimator._parameters, tuple(estimator.history_))
    return record, {"estimator": "PPCA", "dtype": str(np.dtype(estimator.mean_.dtype))}


@singledispatch
def _revived(record: Any, facts: Mapping[str, Any]) -> Any:
    """The estimator of a record, with what is particular to its kind."""
    raise AssertionError(f"a {type(record).__name__} with {list(facts)}")


@_revived.register
def _(record: SavedMixture, facts: Mapping[str, Any]) -> GaussianMixture:
    given = {name: getattr(record, name) for name in _GIVEN}
    estimator = GaussianMixture(**facts["params"], **given)
    set_arrays(estimator, record.parameters, np.dtype(facts["dtype"]))
    estimator.lower_bounds_ = list(record.lower_bounds)
    estimator.lower_bound_ = facts["lower_bound"]
    return estimator


@_revived.register
def _(record: SavedPPCA, facts: Mapping[str, Any]) -> PPCA:
    estimator = PPCA(**facts["params"])
    show_latent(estimator, record.parameters, np.dtype(facts["dtype"]))
    return estimator


_GIVEN = ("weights_init", "means_init", "precisions_init")


def _optional(values: Any) -> Array | None:
    return None if values is None else np.asarray(values)


def _params(estimator: Any) -> dict[str, Any]:
    params = {k: v for k, v in estimator.get_params().items() if k not in _GIVEN}
    # a generator has a state, which is not part of the model
    if not isinstance(params["random_state"], int | np.integer | None):
        params["random_state"] = None
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in params.items()}


def _selection(estimator: Any) -> dict[str, Any]:
    """What was selected; options of a URL may be secret and stay out."""
    chosen = getattr(estimator, "_selection", Selection())
    return {
        "features": None if chosen.features is None else list(chosen.features),
        "sample_dims": None if chosen.sample_dims is None else list(chosen.sample_dims),
    }
