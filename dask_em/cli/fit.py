"""`dask-em fit`: a model from a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dask_em.cli.cluster import WAIT, check_reachable, connected, peak_memory
from dask_em.cli.description import description_of
from dask_em.cli.kinds import asked_for
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
    JSON,
    Cache,
    Checkpoint,
    Cluster,
    Data,
    Features,
    Memory,
    Overwrite,
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
    cache_bytes,
)
from dask_em.cli.results import conclusion, effort, passes_document
from dask_em.cli.saving import check_writable, kept_at

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.cli.kinds import Estimator
    from dask_em.cli.live import Progress
    from dask_em.engine.source import Source

__all__ = ["fit", "fit_document", "fit_on", "tell_fit"]


def fit(
    context: typer.Context,
    data: Data,
    out: Annotated[str, typer.Option("--out", "-o", help="Where the model is saved.")],
    model: Which = Kind.gmm,
    components: Components = None,
    latent_dims: LatentDims = None,
    tol: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="EM stops when a pass gains less, nats per row.",
            show_default="0.001, ppca 1e-06",
            rich_help_panel=MODEL,
        ),
    ] = None,
    max_iter: Annotated[
        int | None,
        typer.Option(
            min=0, help="Most passes.", show_default="100, ppca 1000", rich_help_panel=MODEL
        ),
    ] = None,
    algorithm: By = Algorithm.auto,
    tol_gap: TolGap = None,
    init_sample: Annotated[
        int | None,
        typer.Option(min=1, help="Rows of the sample.", rich_help_panel=MODEL),
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
    scheduler: Scheduler = None,
    workers: Workers = None,
    memory: Memory = None,
    threads: Threads = 1,
    timeout: Timeout = WAIT,
    checkpoint: Checkpoint = None,
    cache: Cache = "off",
    overwrite: Overwrite = False,
    as_json: JSON = False,
) -> None:
    """Fit a Gaussian mixture, or probabilistic PCA, to the rows of a store and save it.

    The rows are streamed, pass after pass; they may be far larger than memory.
    """
    estimator = asked_for(
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
    cluster = Cluster.parse(scheduler, workers, memory, threads)
    kept = cache_bytes(cache)
    selected = Selected.parse(features, sample_dims, storage_option, where)
    check_reachable(cluster)
    check_writable(out, overwrite, selected.options_of(out))

    from dask_em.cli.live import show_progress
    from dask_em.cli.text import print_json, progress_console

    source = selected.open(data, weights)
    begin = time.perf_counter()
    with (
        show_progress(progress_console()) as progress,
        connected(cluster, progress.say, timeout) as client,
    ):
        fit_on(
            client,
            estimator,
            source,
            selected,
            progress,
            checkpoint,
            kept,
            standardize=standardize,
        )
        estimator.save(out, overwrite=overwrite, storage_options=selected.options_of(out))
        peak = None if client is None or cluster.n_workers is None else peak_memory(client)
    seconds = time.perf_counter() - begin
    if as_json:
        print_json(fit_document(estimator, out, seconds, peak))
        return
    tell_fit(estimator, f"saved {out} ({effort(seconds, peak, cluster.memory)})")
    steps = [f"{step}{cluster.flags()}" for step in description_of(estimator).next_steps(out, data)]
    print(f"next: {steps[0]}")
    for step in (*steps[1:], f"dask-em show {out}"):
        print(f"      {step}")


def fit_on(
    client: Client | None,
    estimator: Estimator,
    source: Source,
    selected: Selected,
    progress: Progress,
    checkpoint: str | None = None,
    cache: str | int = "off",
    *,
    standardize: bool = False,
) -> None:
    """Fit a model to a source, its rows and its passes told."""
    from dask_em.cli.text import count, plural, size
    from dask_em.estimators.rows import remember
    from dask_em.mapping.affine import Standardize

    schema = source.schema
    rows = "" if schema.n_rows is None else f"{count(schema.n_rows)} rows of "
    progress.say(
        f"{schema.describe}: {rows}{schema.n_features} features, {size(schema.nbytes)} in "
        f"{plural(schema.n_chunks, 'chunk')}"
    )
    estimator.fit(
        source,
        mapping=[Standardize()] if standardize else None,
        client=client,
        checkpoint=kept_at(checkpoint, selected, progress),
        cache=cache,
        monitor=progress,
    )
    remember(estimator, features=selected.features, sample_dims=selected.sample_dims)


def tell_fit(estimator: Estimator, saved: str) -> None:
    """Say how a fit ended, and where its model is."""
    described = description_of(estimator)
    print(described.ending)
    for subject, words in described.remarks().items():
        print(f"{subject:<9} {words}")
    print(saved)


def fit_document(
    estimator: Estimator, out: str, seconds: float, peak: int | None
) -> dict[str, Any]:
    """The same as JSON has it."""
    described = description_of(estimator)
    return {
        "model": out,
        "outcome": estimator.outcome_.name.lower(),
        "converged": estimator.converged_,
        "advice": conclusion(estimator),
        "iterations": estimator.n_iter_,
        "log_likelihood_per_row": described.log_likelihood,
        "seconds": seconds,
        "peak_worker_bytes": peak,
        **described.main(),
        "passes": passes_document(estimator),
    }
