"""`dask-em fit`: a model from a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dask_em.cli.cluster import WAIT, check_reachable, connected, peak_memory
from dask_em.cli.model_options import (
    COVARIANCE,
    MODEL,
    Algorithm,
    BadChunk,
    By,
    Components,
    Covariance,
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
    JSON,
    Cache,
    Cluster,
    Data,
    Features,
    Memory,
    Overwrite,
    SampleDims,
    Scheduler,
    Selected,
    StorageOptions,
    Threads,
    Timeout,
    Weights,
    Workers,
    cache_bytes,
)
from dask_em.cli.results import conclusion, effort, passes_document
from dask_em.cli.saving import check_writable

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.cli.live import Progress
    from dask_em.engine.source import Source
    from dask_em.estimators.gaussian_mixture import GaussianMixture

__all__ = ["fit", "fit_on"]


def fit(
    data: Data,
    out: Annotated[str, typer.Option("--out", "-o", help="Where the model is saved.")],
    components: Components,
    covariance: Annotated[
        Covariance, typer.Option(help=COVARIANCE, rich_help_panel=MODEL)
    ] = Covariance.full,
    tol: Annotated[
        float,
        typer.Option(
            min=0,
            help="Plain EM stops when a pass gains less, nats per row.",
            rich_help_panel=MODEL,
        ),
    ] = 1e-3,
    max_iter: Annotated[int, typer.Option(min=0, help="Most passes.", rich_help_panel=MODEL)] = 100,
    algorithm: By = Algorithm.auto,
    tol_gap: TolGap = None,
    init_sample: Annotated[
        int | None,
        typer.Option(min=1, help="Rows of the sample.", rich_help_panel=MODEL),
    ] = None,
    n_init: Annotated[int, typer.Option(min=1, help="Starts to try.", rich_help_panel=MODEL)] = 1,
    init: Init = Start.kmeans,
    seed: Seed = None,
    reg_covar: RegCovar = 1e-6,
    missing: Missing = MissingPolicy.error,
    on_bad_chunk: OnBadChunk = BadChunk.stop,
    degenerate: Degenerate = DegeneratePolicy.repair,
    weights: Weights = None,
    features: Features = None,
    sample_dims: SampleDims = None,
    storage_option: StorageOptions = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    memory: Memory = None,
    threads: Threads = 1,
    timeout: Timeout = WAIT,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Folder in which every pass is kept; the same command goes on from it.",
        ),
    ] = None,
    cache: Cache = "off",
    overwrite: Overwrite = False,
    as_json: JSON = False,
) -> None:
    """Fit a Gaussian mixture to the rows of a store and save it.

    The rows are streamed, pass after pass; they may be far larger than memory.
    """
    cluster = Cluster.parse(scheduler, workers, memory, threads)
    kept = cache_bytes(cache)
    selected = Selected.parse(features, sample_dims, storage_option)
    check_reachable(cluster)
    check_writable(out, overwrite)

    from dask_em.cli.live import show_progress
    from dask_em.cli.text import print_json, progress_console
    from dask_em.estimators.gaussian_mixture import GaussianMixture

    source = selected.open(data, weights)
    model = GaussianMixture(
        components,
        covariance_type=covariance.value,
        tol=tol,
        max_iter=max_iter,
        n_init=n_init,
        init_params=init.value,
        random_state=seed,
        reg_covar=reg_covar,
        missing=missing.value,
        on_bad_chunk=on_bad_chunk.value,
        degenerate=degenerate.value,
        algorithm=algorithm.value,
        tol_gap=tol_gap,
        init_sample=init_sample,
    )
    begin = time.perf_counter()
    with (
        show_progress(progress_console()) as progress,
        connected(cluster, progress.say, timeout) as client,
    ):
        fit_on(client, model, source, selected, progress, checkpoint, kept)
        model.save(out, overwrite=overwrite)
        peak = None if client is None or cluster.n_workers is None else peak_memory(client)
    seconds = time.perf_counter() - begin
    if as_json:
        print_json(_document(model, out, seconds, peak))
        return
    _tell(model, out, seconds, peak, cluster)
    print(f"next: dask-em predict {out} {data} --out labels.zarr{cluster.flags()}")
    print(f"      dask-em show {out}")


def fit_on(
    client: Client | None,
    model: GaussianMixture,
    source: Source,
    selected: Selected,
    progress: Progress,
    checkpoint: str | None = None,
    cache: str | int = "off",
) -> None:
    """Fit a model to a source, its rows and its passes told."""
    from dask_em.cli.text import count, plural, size
    from dask_em.place import without_secrets

    schema = source.schema
    rows = "" if schema.n_rows is None else f"{count(schema.n_rows)} rows of "
    progress.say(
        f"{schema.describe}: {rows}{schema.n_features} features, {size(schema.nbytes)} in "
        f"{plural(schema.n_chunks, 'chunk')}"
    )
    if checkpoint is not None:
        progress.say(
            f"each pass is kept in {without_secrets(checkpoint)}; the same command goes on from it"
        )
    model.fit(
        source,
        features=selected.features,
        sample_dims=selected.sample_dims,
        client=client,
        checkpoint=checkpoint,
        cache=cache,
        monitor=progress,
    )


def _tell(
    model: GaussianMixture, out: str, seconds: float, peak: int | None, cluster: Cluster
) -> None:
    print(f"{conclusion(model)}; log-likelihood {model.lower_bound_:.9f} per row")
    from dask_em.cli.text import plural

    repairs = sum(len(record.repairs) for record in model.history_)
    if repairs:
        print(f"{plural(repairs, 'repair')} of degenerate components, listed with the passes above")
    print(f"saved {out} ({effort(seconds, peak, cluster.memory)})")


def _document(model: GaussianMixture, out: str, seconds: float, peak: int | None) -> dict[str, Any]:
    return {
        "model": out,
        "outcome": model.outcome_.name.lower(),
        "converged": model.converged_,
        "advice": conclusion(model),
        "iterations": model.n_iter_,
        "log_likelihood_per_row": model.lower_bound_,
        "seconds": seconds,
        "peak_worker_bytes": peak,
        "weights": model.weights_,
        "means": model.means_,
        "passes": passes_document(model),
    }
