"""`dask-em sweep`: mixtures of many sizes and structures compared, in the passes of one."""

from __future__ import annotations

import time
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dask_em.cli.cluster import WAIT, check_reachable, connected, peak_memory
from dask_em.cli.model_options import (
    MIXTURE,
    MODEL,
    Algorithm,
    BadChunk,
    By,
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
from dask_em.cli.results import effort, next_command
from dask_em.cli.saving import check_writable, kept_at

if TYPE_CHECKING:
    from dask_em.estimators.sweep import Sweep

__all__ = ["sizes", "structures", "sweep"]


class Criterion(StrEnum):
    """What the best mixture has least of."""

    bic = "bic"
    aic = "aic"
    icl = "icl"


def sweep(
    data: Data,
    components: Annotated[
        str,
        typer.Option(
            "--components", "-k", metavar="K", help="Numbers of components: 1:8, or 2,4,8."
        ),
    ] = "1:8",
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="Where the best model is saved, if at all.")
    ] = None,
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
        float,
        typer.Option(
            min=0,
            help="A mixture stops when a pass gains it less, nats per row.",
            rich_help_panel=MODEL,
        ),
    ] = 1e-4,
    max_iter: Annotated[int, typer.Option(min=1, help="Most passes.", rich_help_panel=MODEL)] = 100,
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
    """Fit mixtures of many sizes and structures, compare them, and save the best.

    All of them share each pass over the rows: a sweep reads as often as its slowest mixture.
    """
    cluster = Cluster.parse(scheduler, workers, memory, threads)
    selected = Selected.parse(features, sample_dims, storage_option, where)
    kept = cache_bytes(cache)
    wanted, kinds = sizes(components), structures(covariance)
    check_reachable(cluster)
    if out is not None:
        check_writable(out, overwrite, selected.options_of(out))

    from dask_em.cli.live import show_progress
    from dask_em.cli.text import print_json, progress_console
    from dask_em.estimators.sweep import sweep as run
    from dask_em.mapping.affine import Standardize

    begin = time.perf_counter()
    with (
        show_progress(progress_console()) as progress,
        connected(cluster, progress.say, timeout) as client,
    ):
        found = run(
            data,
            wanted,
            covariance_type=kinds,
            n_init=n_init,
            criterion=criterion.value,
            tol=tol,
            reg_covar=reg_covar,
            max_iter=max_iter,
            algorithm=algorithm.value,
            tol_gap=tol_gap,
            init_params=init.value,
            random_state=seed,
            missing=missing.value,
            degenerate=degenerate.value,
            on_bad_chunk=on_bad_chunk.value,
            sample_weight=weights,
            features=selected.features,
            sample_dims=selected.sample_dims,
            where=selected.where,
            storage_options=selected.options_of(data),
            mapping=[Standardize()] if standardize else None,
            client=client,
            checkpoint=kept_at(checkpoint, selected, progress),
            cache=kept,
            monitor=progress,
        )
        if out is not None:
            found.best.save(out, overwrite=overwrite, storage_options=selected.options_of(out))
        peak = None if client is None or cluster.n_workers is None else peak_memory(client)
    seconds = time.perf_counter() - begin
    if as_json:
        print_json(_document(found, out, seconds, peak))
        return
    _tell(found, out, effort(seconds, peak, cluster.memory))
    if out is not None:
        print(f"next: {next_command('predict', out, data, 'labels.zarr')}{cluster.flags()}")


def sizes(text: str) -> list[int]:
    """Numbers of components: ``1:8`` with both ends, ``2,4,8``, or both, ``1:4,8``.

    Raises
    ------
    typer.BadParameter
        If the text is neither, or a number is below 1.
    """
    found: list[int] = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        try:
            start, stop = int(first), int(last if colon else first)
        except ValueError as error:
            raise typer.BadParameter(f"-k {text!r} is no range; write 1:8, or 2,4,8") from error
        if not 1 <= start <= stop:
            raise typer.BadParameter(f"-k {text!r} goes from {start} to {stop}; write e.g. 1:8")
        found += range(start, stop + 1)
    return sorted(set(found))


def structures(text: str) -> list[str]:
    """Names of covariance structures.

    Raises
    ------
    typer.BadParameter
        If one is unknown.
    """
    known = [one.value for one in Covariance]
    found = [name.strip() for name in text.split(",")]
    for name in found:
        if name not in known:
            raise typer.BadParameter(f"--covariance {name!r} is none of {', '.join(known)}")
    return found


def _tell(found: Sweep, out: str | None, spent: str) -> None:
    from dask_em.cli.text import plural

    print(found)
    best, passes = found.best_candidate, len(found.history)
    print(
        f"best by {found.criterion.upper()}: {plural(best.n_components, 'component')}, "
        f"{best.covariance_type} covariance; log-likelihood {best.log_likelihood:.9f} per row"
    )
    read = f"{plural(len(found.candidates), 'mixture')} in {passes} passes"
    print(f"{read} ({spent})" if out is None else f"saved {out}; {read} ({spent})")


def _document(found: Sweep, out: str | None, seconds: float, peak: int | None) -> dict[str, Any]:
    return {
        "model": out,
        "criterion": found.criterion,
        "best": asdict(found.best_candidate),
        "candidates": found.to_dicts(),
        "seconds": seconds,
        "peak_worker_bytes": peak,
        "nbytes": sum(record.nbytes for record in found.history),
        "passes": [asdict(record) for record in found.history],
    }
