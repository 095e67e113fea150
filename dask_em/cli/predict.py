"""`dask-em predict`: labels of the rows of a store."""

from __future__ import annotations

from typing import Annotated

import typer

from dask_em.cli.answers import PREDICT, Answers
from dask_em.cli.cluster import WAIT
from dask_em.cli.model_options import MissingPolicy, OnSkipped
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

__all__ = ["predict"]


def predict(
    model: SavedModel,
    data: Data,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="Zarr store for the labels, in the rows' shape; of Parquet a folder of Parquet.",
        ),
    ],
    probabilities: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Zarr store for the probability of each component; the path of --out for there.",
        ),
    ] = None,
    log_density: LogDensity = None,
    missing: Annotated[
        MissingPolicy | None,
        typer.Option(help="Refuse rows with NaN, or label them -1. By default as in the fit."),
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
    """Write for each row the component that it most probably belongs to.

    Probabilities and densities are written in the same pass.

    The features are those of the fit unless they are given.
    """
    Answers(
        PREDICT,
        model,
        data,
        {"labels": out, "probabilities": probabilities, "log_density": log_density},
        {"missing": missing, "on_bad_chunk": on_bad_chunk},
        Selected.parse(features, sample_dims, storage_option, where),
        Cluster.parse(scheduler, workers, memory, threads),
        timeout,
        overwrite,
        names_of(keys),
        checkpoint,
    ).write(as_json)
