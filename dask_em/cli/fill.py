"""`dask-em fill`: the rows of a store with their gaps filled."""

from __future__ import annotations

from typing import Annotated

import typer

from dask_em.cli.answers import FILL, Answers
from dask_em.cli.cluster import WAIT
from dask_em.cli.model_options import OnSkipped
from dask_em.cli.options import (
    JSON,
    Cluster,
    Data,
    Features,
    KeptAnswers,
    Keys,
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

__all__ = ["fill"]


def fill(
    model: SavedModel,
    data: Data,
    out: Annotated[str, typer.Option("--out", "-o", help="Zarr store for the rows, gaps filled.")],
    std: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Zarr store for the standard deviation of what a gap hides; 0 elsewhere.",
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
    """Write the rows of a store, gaps (NaN) replaced by what the rest of a row lets expect.

    That is their posterior mean. Standard deviations are written in the same pass.

    The features are those of the fit unless they are given.
    """
    Answers(
        FILL,
        model,
        data,
        {"filled": out, "deviation": std},
        {"on_bad_chunk": on_bad_chunk},
        Selected.parse(features, sample_dims, storage_option, where),
        Cluster.parse(scheduler, workers, memory, threads),
        timeout,
        overwrite,
        names_of(keys),
        checkpoint,
    ).write(as_json)
