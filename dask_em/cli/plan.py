"""`dask-em plan`: what a fit would cost, before it is made."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from dask_em.cli.cluster import WAIT, check_reachable, connected, resources_of
from dask_em.cli.model_options import (
    COVARIANCE,
    MISSING,
    ON_BAD_CHUNK,
    BadChunk,
    Components,
    Covariance,
    MissingPolicy,
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
    StorageOptions,
    Threads,
    Timeout,
    Weights,
    Workers,
)

if TYPE_CHECKING:
    from dask_em.engine.source import Source

__all__ = ["plan"]


def plan(
    data: Data,
    components: Components,
    covariance: Annotated[Covariance, typer.Option(help=COVARIANCE)] = Covariance.full,
    missing: Annotated[MissingPolicy, typer.Option(help=MISSING)] = MissingPolicy.error,
    on_bad_chunk: Annotated[BadChunk, typer.Option(help=ON_BAD_CHUNK)] = BadChunk.stop,
    weights: Weights = None,
    probe: Annotated[
        bool, typer.Option(help="Read and compute a few chunks to tell the time of a pass.")
    ] = True,
    features: Features = None,
    sample_dims: SampleDims = None,
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
    cluster = Cluster.parse(scheduler, workers, memory, threads)
    selected = Selected.parse(features, sample_dims, storage_option)
    check_reachable(cluster)

    from dask_em.cli.text import print_json, progress_console, result_console
    from dask_em.estimators.gaussian_mixture import GaussianMixture
    from dask_em.estimators.planning import plan as planned

    source = selected.open(data, weights)
    model = GaussianMixture(
        components,
        covariance_type=covariance.value,
        missing=missing.value,
        on_bad_chunk=on_bad_chunk.value,
    )
    _check(cluster, source)
    console = progress_console()
    with (
        console.status("measuring") if console.is_terminal else nullcontext(),
        connected(cluster, lambda text: console.print(text, soft_wrap=True), timeout) as client,
    ):
        promise = planned(source, model, client=client, probe=probe)
    if as_json:
        print_json({"data": data, **promise.to_dict()})
        return
    results = result_console()
    if results.is_terminal:
        results.print(promise)
    else:
        print(promise)
    chosen = "" if covariance is Covariance.full else f" --covariance {covariance.value}"
    chosen += selected.flags() + cluster.flags()
    print(f"next: dask-em fit {data} -k {components}{chosen} --out model.zarr")


def _check(cluster: Cluster, source: Source) -> None:
    """Refuse what cannot fit before a cluster is started for it."""
    from dask_em.engine.plan import Plan

    if cluster.n_workers is not None:
        Plan.make(source, resources_of(cluster))
