"""`dask-em job init fit`: the specification of a fit."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dask_em.cli.jobs.draft import Draft, Turn
from dask_em.cli.jobs.options import Checkpoint, File, Owner, Priority, Tags
from dask_em.cli.jobs.specification import absolute
from dask_em.cli.kinds import chosen
from dask_em.cli.model_options import (
    COVARIANCE,
    GAPS,
    LATENT,
    MIXTURE,
    MODEL,
    SOLVER,
    Algorithm,
    BadChunk,
    By,
    Components,
    Covariance,
    Degenerate,
    DegeneratePolicy,
    GapPolicy,
    Init,
    Kind,
    LatentDims,
    OnBadChunk,
    RegCovar,
    Seed,
    SolverName,
    Start,
    TolGap,
    Which,
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

__all__ = ["STOPPING", "fit"]

#: parameters of estimators that say when a fit stops
STOPPING = ("tol", "tol_gap", "max_iter", "algorithm")
NAMES = {Kind.gmm: "gaussian_mixture", Kind.ppca: "ppca"}


def fit(
    context: typer.Context,
    data: Data,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Where the job saves its model; it is kept by the service in any case.",
        ),
    ] = None,
    model: Which = Kind.gmm,
    components: Components = None,
    latent_dims: LatentDims = None,
    tol: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="EM stops when a pass gains less, nats per row.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    max_iter: Annotated[
        int | None, typer.Option(min=0, help="Most passes.", rich_help_panel=MODEL)
    ] = None,
    algorithm: By = Algorithm.auto,
    tol_gap: TolGap = None,
    init_sample: Annotated[
        int | None, typer.Option(min=1, help="Rows of the sample.", rich_help_panel=MODEL)
    ] = None,
    seed: Seed = None,
    missing: Annotated[GapPolicy, typer.Option(help=GAPS, rich_help_panel=MODEL)] = GapPolicy.error,
    on_bad_chunk: OnBadChunk = BadChunk.stop,
    covariance: Annotated[
        Covariance, typer.Option(help=COVARIANCE, rich_help_panel=MIXTURE)
    ] = Covariance.full,
    n_init: Annotated[int, typer.Option(min=1, help="Starts to try.", rich_help_panel=MIXTURE)] = 1,
    init: Init = Start.kmeans,
    reg_covar: RegCovar = 1e-6,
    degenerate: Degenerate = DegeneratePolicy.repair,
    solver: Annotated[
        SolverName, typer.Option(help=SOLVER, rich_help_panel=LATENT)
    ] = SolverName.auto,
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
    """Write the specification of a fit; the options are those of dask-em fit, --out excepted.

    Paths become absolute, as a job runs elsewhere. Nothing is read of the data.
    """
    parameters = chosen(
        context,
        model,
        components=components,
        latent_dims=latent_dims,
        tol=tol,
        max_iter=max_iter,
        algorithm=algorithm,
        tol_gap=tol_gap,
        init_sample=init_sample,
        seed=seed,
        missing=missing,
        on_bad_chunk=on_bad_chunk,
        covariance=covariance,
        n_init=n_init,
        init=init,
        reg_covar=reg_covar,
        degenerate=degenerate,
        solver=solver,
    )
    stopping = {name: parameters.pop(name) for name in STOPPING if name in parameters}
    resources = {"cache": cache_bytes(cache), "on_bad_chunk": parameters.pop("on_bad_chunk")}
    selected = Selected.parse(features, sample_dims, storage_option, where)
    mapping: list[Any] = [{"step": "standardize"}] if standardize else []
    Draft(data, selected, weights, Turn(owner, priority, tag), checkpoint).write(
        out,
        task="fit",
        model={"kind": NAMES[model], **parameters},
        mapping=mapping,
        stopping=stopping,
        resources=resources,
        output=None if output is None else absolute(output),
        overwrite=overwrite,
    )
