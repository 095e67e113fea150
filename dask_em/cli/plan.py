"""`dask-em plan`: what a fit would cost, before it is made."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from dask_em.cli.cluster import WAIT, check_reachable, connected, resources_of
from dask_em.cli.kinds import asked_for, written
from dask_em.cli.model_options import (
    COVARIANCE,
    GAPS,
    ON_BAD_CHUNK,
    SOLVER,
    BadChunk,
    Components,
    Covariance,
    GapPolicy,
    Kind,
    LatentDims,
    SolverName,
    Which,
)
from dask_em.cli.options import (
    JSON,
    Cluster,
    Data,
    Features,
    Memory,
    SampleDims,
    Scheduler,
    Selected,
    Standardized,
    StorageOptions,
    Threads,
    Timeout,
    Weights,
    Where,
    Workers,
)

if TYPE_CHECKING:
    from dask_em.engine.source import Source

__all__ = ["plan"]

#: options that a fit has as well
CHOICES = (
    "model", "components", "latent_dims", "covariance", "solver", "missing", "on_bad_chunk",
)  # fmt: skip


def plan(
    context: typer.Context,
    data: Data,
    model: Which = Kind.gmm,
    components: Components = None,
    latent_dims: LatentDims = None,
    covariance: Annotated[Covariance, typer.Option(help=COVARIANCE)] = Covariance.full,
    solver: Annotated[SolverName, typer.Option(help=SOLVER)] = SolverName.auto,
    missing: Annotated[GapPolicy, typer.Option(help=GAPS)] = GapPolicy.error,
    on_bad_chunk: Annotated[BadChunk, typer.Option(help=ON_BAD_CHUNK)] = BadChunk.stop,
    weights: Weights = None,
    standardize: Standardized = False,
    probe: Annotated[
        bool, typer.Option(help="Read and compute a few chunks to tell the time of a pass.")
    ] = True,
    features: Features = None,
    sample_dims: SampleDims = None,
    where: Where = None,
    storage_option: StorageOptions = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    memory: Memory = None,
    threads: Threads = 1,
    timeout: Timeout = WAIT,
    as_json: JSON = False,
) -> None:
    """Show what a fit would read, hold and take, and refuse what cannot fit.

    The time is measured on the cluster that the options name, in about a second.
    """
    estimator = asked_for(
        context,
        model,
        components=components,
        latent_dims=latent_dims,
        covariance=covariance,
        solver=solver,
        missing=missing,
        on_bad_chunk=on_bad_chunk,
    )
    cluster = Cluster.parse(scheduler, workers, memory, threads)
    selected = Selected.parse(features, sample_dims, storage_option, where)
    check_reachable(cluster)

    from dask_em.cli.text import print_json, progress_console, result_console
    from dask_em.estimators.planning import plan as planned
    from dask_em.mapping.affine import Standardize

    source = selected.open(data, weights)
    _check(cluster, source)
    console = progress_console()
    with (
        console.status("measuring") if console.is_terminal else nullcontext(),
        connected(cluster, lambda text: console.print(text, soft_wrap=True), timeout) as client,
    ):
        promise = planned(
            source,
            estimator,
            client=client,
            mapping=[Standardize()] if standardize else None,
            probe=probe,
        )
    if as_json:
        print_json({"data": data, **promise.to_dict()})
        return
    results = result_console()
    if results.is_terminal:
        results.print(promise)
    else:
        print(promise)
    chosen = written(context, CHOICES) + " --standardize" * standardize + selected.flags()
    print(f"next: dask-em fit {shlex.quote(data)}{chosen}{cluster.flags()} --out model.zarr")


def _check(cluster: Cluster, source: Source) -> None:
    """Refuse what cannot fit before a cluster is started for it."""
    from dask_em.engine.plan import Plan

    if cluster.n_workers is not None:
        Plan.make(source, resources_of(cluster))
