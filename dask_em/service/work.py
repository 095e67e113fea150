"""Work: what a specification asks for, done with the estimators that anybody uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dask_em.engine.mark import ROOM
from dask_em.engine.monitor import Monitor
from dask_em.engine.query import Deviation, Filled, Label, LogDensity, Probability, Query, Score
from dask_em.engine.source import Source
from dask_em.errors import DataError, InputError
from dask_em.mapping.affine import Standardize
from dask_em.mapping.log import Log
from dask_em.mapping.select import Select
from dask_em.place import Place, parse_place
from dask_em.remote.secrets import without_secrets
from dask_em.service import spec as told
from dask_em.service.spec import Fit, Predict, Sweep
from dask_em.sources.apart import check_apart
from dask_em.sources.paths import is_url
from dask_em.sources.registry import open_source

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.estimators.gaussian_mixture import GaussianMixture
    from dask_em.estimators.ppca import PPCA

__all__ = [
    "checkpoint_of",
    "estimator_of",
    "open_rows",
    "options_of",
    "perform",
    "rehearse",
    "steps_of",
]

#: what is asked of a model for each output of a specification
QUERIES: dict[str, type[Query]] = {
    "class": Label,
    "probability": Probability,
    "log_likelihood": LogDensity,
    "score": Score,
    "filled": Filled,
    "deviation": Deviation,
}
#: and what there is to ask
ANSWERS = {
    "GaussianMixture": ("class", "probability", "log_likelihood"),
    "PPCA": ("score", "filled", "deviation", "log_likelihood"),
}


def rehearse(spec: Fit | Sweep | Predict) -> None:
    """Open all that a specification names, and read no row.

    Raises
    ------
    DaskEmError, ValueError
        What the work itself would raise before its first pass.
    """
    options = spec.data.storage_options
    kept = checkpoint_of(spec)
    if kept is not None:
        _check_checkpoint(spec, kept)
    if isinstance(spec, Predict):
        _rehearse_answers(spec)
        outputs = list(spec.outputs.values())
    else:
        source = open_rows(spec)
        outputs = [] if spec.output is None else [spec.output]
        if isinstance(spec, Fit):
            estimator = estimator_of(spec)
            estimator._validate_params()
            _check_rows(source, spec.model)
        from dask_em.estimators.mapping import planned

        planned(source, steps_of(spec))
    # what is there may be its own, which the work itself finds out
    has_begun = isinstance(spec, Predict) and kept is not None and kept.exists()
    for url in dict.fromkeys(outputs):
        if kept is not None:
            check_apart(kept, [url], options_of(url, options))
        if (
            not (spec.overwrite or has_begun)
            and parse_place(url, options_of(url, options)).exists()
        ):
            raise InputError(
                f"there is something at the output {parse_place(url)} already; give another, or "
                '"overwrite": true'
            )


def perform(
    spec: Fit | Sweep | Predict,
    *,
    client: Client | None = None,
    checkpoint: Place | None = None,
    monitor: Monitor | None = None,
) -> GaussianMixture | PPCA | None:
    """Do what a specification asks for.

    Parameters
    ----------
    spec : specification
    client : distributed.Client, optional
        The cluster to work on.
    checkpoint : Place, optional
        Where all is kept that a second call needs to go on from.
    monitor : Monitor, optional

    Returns
    -------
    GaussianMixture, PPCA or None
        What was fitted, not saved yet; None where answers were written.

    Raises
    ------
    DaskEmError
        With the value, the limit and the remedy.
    """
    if isinstance(spec, Predict):
        _predict(spec, client, checkpoint, monitor)
        return None
    shared: dict[str, Any] = {
        **_selection(spec),
        "sample_weight": spec.data.sample_weight,
        "mapping": steps_of(spec) or None,
        "client": client,
        "cache": spec.resources.cache,
        "monitor": monitor,
        "checkpoint": checkpoint,
    }
    if isinstance(spec, Fit):
        made = estimator_of(spec)
        made.fit(spec.data.url, **shared)
        return made
    from dask_em.estimators.sweep import sweep

    candidates = spec.candidates.model_dump()
    return sweep(
        spec.data.url,
        **candidates,
        **_stopping(spec),
        on_bad_chunk=spec.resources.on_bad_chunk,
        **shared,
    ).best


def checkpoint_of(spec: Fit | Sweep | Predict) -> Place | None:
    """Where a specification wants its checkpoint, if it says so; nothing is looked at."""
    url = spec.checkpoint
    return None if url is None else parse_place(url, options_of(url, spec.data.storage_options))


def estimator_of(spec: Fit) -> GaussianMixture | PPCA:
    """What is to be fitted."""
    from dask_em.estimators.gaussian_mixture import GaussianMixture
    from dask_em.estimators.ppca import PPCA

    kind = PPCA if isinstance(spec.model, told.PPCA) else GaussianMixture
    params = spec.model.model_dump(exclude={"kind"})
    made: GaussianMixture | PPCA = kind(
        **params, **_stopping(spec), on_bad_chunk=spec.resources.on_bad_chunk
    )
    return made


def steps_of(spec: Fit | Sweep) -> list[Any]:
    """What is done to rows before the model sees them."""
    return [_step(one) for one in spec.mapping]


def open_rows(spec: Fit | Sweep) -> Source:
    """The rows of a specification; none is read yet."""
    return open_source(spec.data.url, **_selection(spec), sample_weight=spec.data.sample_weight)


def _selection(spec: Fit | Sweep | Predict) -> dict[str, Any]:
    """Which of the rows are meant."""
    return spec.data.model_dump(include={"features", "sample_dims", "where", "storage_options"})


def _step(step: told.Step) -> Any:
    if isinstance(step, told.Standardize):
        return Standardize() if step.features is None else Standardize(step.features)
    if isinstance(step, told.Log):
        return Log(step.features, offset=step.offset)
    return Select(step.features)


def _stopping(spec: Fit | Sweep) -> dict[str, Any]:
    """What is said of the end; else it is as the estimator has it."""
    return {name: value for name, value in spec.stopping.model_dump().items() if value is not None}


def _check_rows(source: Source, model: Any) -> None:
    rows, size = source.schema.n_rows, model.n_components
    if rows is not None and isinstance(model, told.GaussianMixture) and rows < size:
        raise DataError(f"there are {rows} rows for n_components={size}; give at least as many")


def _check_checkpoint(spec: Fit | Sweep | Predict, place: Place) -> None:
    """Refuse a checkpoint where something else is, as the work itself would."""
    from dask_em.engine import checkpoint, ledger

    marks = ledger.MARKS if isinstance(spec, Predict) else checkpoint.MARKS
    with place.explain("used as a checkpoint", ROOM):
        marks.find(place, None)


def _load(spec: Predict) -> Any:
    from dask_em.estimators.persistence import load

    made = load(spec.model, storage_options=options_of(spec.model, spec.data.storage_options))
    kind = type(made).__name__
    unknown = [name for name in spec.outputs if name not in ANSWERS[kind]]
    if unknown:
        raise InputError(
            f"outputs.{unknown[0]}: {without_secrets(spec.model)} holds a {kind}, which gives "
            f"{', '.join(ANSWERS[kind])}"
        )
    if spec.resources.on_bad_chunk is not None:
        made.on_bad_chunk = spec.resources.on_bad_chunk
    return made


def _missing(spec: Predict) -> str | None:
    """The policy on NaN; None is that of the fit."""
    if not {"filled", "deviation"} & set(spec.outputs):
        return spec.missing
    if spec.missing not in (None, "model"):
        raise InputError(
            f"missing is {spec.missing!r}, and gaps are to be filled; leave it out, or leave out "
            "outputs.filled and outputs.deviation"
        )
    return "model"


def _rehearse_answers(spec: Predict) -> None:
    from dask_em.estimators.asking import prediction_of

    made = _load(spec)
    source = made._opened(spec.data.url, None, _selection(spec))
    prediction_of(made, source, [QUERIES[name] for name in spec.outputs], _missing(spec))


def _predict(
    spec: Predict, client: Client | None, checkpoint: Place | None, monitor: Monitor | None
) -> None:
    from dask_em.estimators.writing import write_answers

    outputs = spec.outputs
    write_answers(
        _load(spec),
        spec.data.url,
        {QUERIES[name]: outputs[name] for name in outputs},
        overwrite=spec.overwrite,
        output_options=spec.data.storage_options if any(map(is_url, outputs.values())) else None,
        client=client,
        monitor=monitor,
        missing=_missing(spec),
        keys=spec.keys,
        checkpoint=checkpoint,
        **_selection(spec),
    )


def options_of(url: str, options: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What fsspec needs for a URL; None for paths, which need nothing."""
    return options if is_url(url) else None
