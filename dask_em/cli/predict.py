"""`dask-em predict`: labels of the rows of a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dask_em.cli.cluster import WAIT, check_reachable, connected
from dask_em.cli.model_options import BadChunk, MissingPolicy
from dask_em.cli.options import (
    JSON,
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
    Workers,
)

if TYPE_CHECKING:
    from dask_em.engine.stream import Tally

__all__ = ["predict"]


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Path or URL of a saved model.")],
    data: Data,
    out: Annotated[
        str, typer.Option("--out", "-o", help="Zarr store for the labels, in the rows' shape.")
    ],
    probabilities: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Zarr store for the probability of each component."),
    ] = None,
    log_density: Annotated[
        str | None, typer.Option(metavar="PATH", help="Zarr store for the log-density, nats.")
    ] = None,
    missing: Annotated[
        MissingPolicy | None,
        typer.Option(help="Refuse rows with NaN, or label them -1. By default as in the fit."),
    ] = None,
    on_bad_chunk: Annotated[
        BadChunk | None,
        typer.Option(
            help="Stop at an unreadable chunk, or label its rows -1. By default as in the fit."
        ),
    ] = None,
    features: Features = None,
    sample_dims: SampleDims = None,
    storage_option: StorageOptions = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    memory: Memory = None,
    threads: Threads = 1,
    timeout: Timeout = WAIT,
    overwrite: Overwrite = False,
    as_json: JSON = False,
) -> None:
    """Write for each row the component that it most probably belongs to.

    Probabilities and densities are written in the same pass. The features are those of the fit
    unless they are given.
    """
    cluster = Cluster.parse(scheduler, workers, memory, threads)
    selected = Selected.parse(features, sample_dims, storage_option)
    check_reachable(cluster)
    outputs = {"labels": out, "probabilities": probabilities, "log_density": log_density}
    written = {name: path for name, path in outputs.items() if path is not None}
    if len(set(written.values())) < len(written):
        raise typer.BadParameter(f"{', '.join(written)} need a store each; give different paths")

    from dask_em.cli.live import show_progress
    from dask_em.cli.text import print_json, progress_console
    from dask_em.estimators.persistence import load
    from dask_em.sources.apart import check_outputs

    check_outputs(list(written.values()), overwrite)
    fitted = load(model)
    if missing is not None:
        fitted.missing = missing.value
    if on_bad_chunk is not None:
        fitted.on_bad_chunk = on_bad_chunk.value
    begin = time.perf_counter()
    with (
        show_progress(progress_console()) as progress,
        connected(cluster, progress.say, timeout) as client,
    ):
        tally = fitted.write_predictions(
            data,
            out,
            probabilities=probabilities,
            log_density=log_density,
            overwrite=overwrite,
            features=selected.features,
            sample_dims=selected.sample_dims,
            storage_options=selected.storage_options,
            client=client,
            monitor=progress,
        )
    seconds = time.perf_counter() - begin
    if as_json:
        print_json({"model": model, "data": data, **written, **_figures(tally, seconds)})
        return
    for name, path in written.items():
        print(f"{name.replace('_', '-')} in {path}")
    print(_sentence(tally, seconds))
    print(f'next: xarray.open_zarr("{out}")')


def _figures(tally: Tally, seconds: float) -> dict[str, Any]:
    return {
        "rows": tally.rows,
        "bytes_read": tally.nbytes,
        "bad_chunks": tally.bad_chunks,
        "seconds": seconds,
    }


def _sentence(tally: Tally, seconds: float) -> str:
    from dask_em.cli.text import count, plural, size

    skipped = f"; {plural(tally.bad_chunks, 'unreadable chunk')} skipped"
    done = f"{count(tally.rows)} rows, {size(tally.nbytes)} in {seconds:.1f} s"
    return done + (skipped if tally.bad_chunks else "")
