"""`dask-em transform`: latent variables of the rows of a store."""

from __future__ import annotations

from typing import Annotated

import typer

from dask_em.cli.answers import TRANSFORM, Answers
from dask_em.cli.cluster import WAIT
from dask_em.cli.model_options import GapPolicy, OnSkipped
from dask_em.cli.options import (
    JSON,
    Cluster,
    Data,
    Features,
    KeptAnswers,
    Keys,
    LogDensity,
    Memory,
    Overwrite,
    SampleDims,
    SavedModel,
    Scheduler,
    Selected,
    StorageOptions,
    Threads,
    Timeout,
    Where,
    Workers,
    names_of,
)

__all__ = ["transform"]


def transform(
    model: SavedModel,
    data: Data,
    out: Annotated[str, typer.Option("--out", "-o", help="Zarr store for the scores, (..., q).")],
    log_density: LogDensity = None,
    missing: Annotated[
        GapPolicy | None,
        typer.Option(
            help="Refuse rows with NaN, give them NaN, or use what is observed of them. By default "
            "as in the fit."
        ),
    ] = None,
    on_bad_chunk: OnSkipped = None,
    features: Features = None,
    sample_dims: SampleDims = None,
    where: Where = None,
    keys: Keys = None,
    storage_option: StorageOptions = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    memory: Memory = None,
    threads: Threads = 1,
    timeout: Timeout = WAIT,
    checkpoint: KeptAnswers = None,
    overwrite: Overwrite = False,
    as_json: JSON = False,
) -> None:
    """Write for each row the posterior mean of its latent variables, its scores.

    Densities are written in the same pass.

    The features are those of the fit unless they are given.
    """
    Answers(
        TRANSFORM,
        model,
        data,
        {"scores": out, "log_density": log_density},
        {"missing": missing, "on_bad_chunk": on_bad_chunk},
        Selected.parse(features, sample_dims, storage_option, where),
        Cluster.parse(scheduler, workers, memory, threads),
        timeout,
        overwrite,
        names_of(keys),
        checkpoint,
    ).write(as_json)
