"""`dask-em job init sweep`: the specification of a sweep."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dask_em.cli.jobs.draft import Draft, Turn
from dask_em.cli.jobs.options import Checkpoint, File, Owner, Priority, Tags
from dask_em.cli.jobs.specification import absolute
from dask_em.cli.model_options import (
    MIXTURE,
    MODEL,
    Algorithm,
    BadChunk,
    By,
    Degenerate,
    DegeneratePolicy,
    Init,
    Missing,
    MissingPolicy,
    OnBadChunk,
    RegCovar,
    Seed,
    Start,
    TolGap,
)
from dask_em.cli.options import (
    Cache,
    Data,
    Features,
    Overwrite,
    SampleDims,
    Selected,
    Standardized,
    StorageOptions,
    Weights,
    Where,
    cache_bytes,
)
from dask_em.cli.sweep import Criterion, sizes, structures

__all__ = ["sweep"]


def sweep(
    data: Data,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Where the job saves the best model; it is kept by the service in any case.",
        ),
    ] = None,
    components: Annotated[
        str,
        typer.Option(
            "--components", "-k", metavar="K", help="Numbers of components: 1:8, or 2,4,8."
        ),
    ] = "1:8",
    covariance: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Structures of the covariances: full, tied, diag, spherical.",
            rich_help_panel=MIXTURE,
        ),
    ] = "full,diag",
    criterion: Annotated[
        Criterion, typer.Option(help="What the best has least of.", rich_help_panel=MODEL)
    ] = Criterion.bic,
    n_init: Annotated[
        int, typer.Option(min=1, help="Starts of each mixture.", rich_help_panel=MIXTURE)
    ] = 1,
    tol: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="A mixture stops when a pass gains it less, nats per row.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    max_iter: Annotated[
        int | None, typer.Option(min=1, help="Most passes.", rich_help_panel=MODEL)
    ] = None,
    algorithm: By = Algorithm.auto,
    tol_gap: TolGap = None,
    init: Init = Start.kmeans,
    seed: Seed = None,
    reg_covar: RegCovar = 1e-6,
    missing: Missing = MissingPolicy.error,
    on_bad_chunk: OnBadChunk = BadChunk.stop,
    degenerate: Degenerate = DegeneratePolicy.repair,
    weights: Weights = None,
    standardize: Standardized = False,
    features: Features = None,
    sample_dims: SampleDims = None,
    where: Where = None,
    storage_option: StorageOptions = None,
    cache: Cache = "off",
    checkpoint: Checkpoint = None,
    overwrite: Overwrite = False,
    owner: Owner = None,
    priority: Priority = 0,
    tag: Tags = None,
    out: File = None,
) -> None:
    """Write the specification of a sweep; the options are those of dask-em sweep, --out excepted.

    Paths become absolute, as a job runs elsewhere. Nothing is read of the data.
    """
    selected = Selected.parse(features, sample_dims, storage_option, where)
    mapping: list[Any] = [{"step": "standardize"}] if standardize else []
    Draft(data, selected, weights, Turn(owner, priority, tag), checkpoint).write(
        out,
        task="sweep",
        candidates={
            "n_components": sizes(components),
            "covariance_type": structures(covariance),
            "criterion": criterion.value,
            "n_init": n_init,
            "reg_covar": reg_covar,
            "init_params": init.value,
            "random_state": seed,
            "degenerate": degenerate.value,
            "missing": missing.value,
        },
        mapping=mapping,
        stopping={
            "tol": tol,
            "tol_gap": tol_gap,
            "max_iter": max_iter,
            "algorithm": algorithm.value,
        },
        resources={"cache": cache_bytes(cache), "on_bad_chunk": on_bad_chunk.value},
        output=None if output is None else absolute(output),
        overwrite=overwrite,
    )
