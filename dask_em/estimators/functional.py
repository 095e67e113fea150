"""`fit` for data of any kind: the functional layer under the estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from dask_em.core.model import Model
from dask_em.core.records import Parameters, Statistics
from dask_em.engine import fit as engine
from dask_em.engine.fit import Fitted
from dask_em.estimators.mapping import prepare
from dask_em.sources.registry import open_source

__all__ = ["fit"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


def fit(
    model: Model[P, S],
    data: Any,
    *,
    sample_weight: Any = None,
    features: Sequence[str] | None = None,
    sample_dims: Sequence[str] | None = None,
    where: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mapping: Any = None,
    **options: Any,
) -> Fitted[P]:
    """Fit any model to data of any kind by Expectation-Maximization.

    Parameters
    ----------
    model : Model
        What to fit, for example ``Mixture(Gaussian(Full()), 8, start)`` or a model of your own.
    data : array, dask array, path, URL, Zarr array or group, or Source
        The rows; features along the last axis.
    sample_weight, features, sample_dims, where, storage_options
        How the data are opened, see `open_source`.
    mapping : sequence of steps, optional
        What is done to the rows before the model sees them, as in `GaussianMixture.fit`; the
        result says what was learned of it.
    **options
        ``client, start, stopping, previous, n_init, rng, missing, on_bad_chunk, algorithm,
        init_sample, checkpoint, monitor``, see `dask_em.engine.fit.fit`.

    Raises
    ------
    DaskEmError
        With the value, the limit and the remedy.
    """
    source = open_source(
        data,
        sample_weight=sample_weight,
        features=features,
        sample_dims=sample_dims,
        where=where,
        storage_options=storage_options,
    )
    if "checkpoint" in options:
        from dask_em.estimators.rows import Selection  # it brings scikit-learn along

        selection = Selection(features, sample_dims, storage_options)
        options["checkpoint"] = selection.checkpoint(options["checkpoint"], data)
    shared = ("client", "missing", "on_bad_chunk", "monitor", "checkpoint")
    given = {name: options[name] for name in shared if name in options}
    prepared = prepare(source, mapping, **given)
    return prepared.completed(engine.fit(model, prepared.source, **options))
