"""`dask-em run`: a job done by this command, which waits for it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dask_em.cli.cluster import WAIT, check_reachable, connected, peak_memory
from dask_em.cli.jobs.options import SpecFile
from dask_em.cli.jobs.specification import Specification
from dask_em.cli.options import JSON, Cluster, Memory, Scheduler, Threads, Timeout, Workers
from dask_em.cli.outcome import wrong_usage

if TYPE_CHECKING:
    from dask_em.service.spec import Fit, Predict, Sweep

__all__ = ["run"]


def run(
    file: SpecFile,
    scheduler: Scheduler = None,
    workers: Workers = None,
    memory: Memory = None,
    threads: Threads = 1,
    timeout: Timeout = WAIT,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Folder in which every pass is kept. What is not named is removed at the end.",
            show_default="that of the specification, or beside the output",
        ),
    ] = None,
    as_json: JSON = False,
) -> None:
    """Do a job without a service, and wait for it: for batch systems that start commands.

    The same command goes on where one before was killed.
    """
    told = Specification.read(file)
    job, output = told.job, _output(told.job, file)
    cluster = Cluster.parse(scheduler, workers, memory, threads)
    check_reachable(cluster)

    from dask_em.cli.live import show_progress
    from dask_em.cli.text import progress_console
    from dask_em.place import parse_place
    from dask_em.remote.secrets import without_secrets
    from dask_em.service.work import options_of, perform, rehearse

    kept = checkpoint or job.checkpoint or f"{output.rstrip('/')}.{told.token}.checkpoint"
    rehearse(job.model_copy(update={"checkpoint": kept}))
    place = parse_place(kept, options_of(kept, job.data.storage_options))
    begin = time.perf_counter()
    with (
        show_progress(progress_console()) as progress,
        connected(cluster, progress.say, timeout) as client,
    ):
        progress.say(f"kept in {without_secrets(kept)}; the same command goes on from it")
        made = perform(job, client=client, checkpoint=place, monitor=progress)
        if made is not None and job.task != "predict":
            options = options_of(output, job.data.storage_options)
            made.save(output, overwrite=job.overwrite, storage_options=options)
        peak = None if client is None or cluster.n_workers is None else peak_memory(client)
    if kept not in (checkpoint, job.checkpoint):
        with suppress(OSError):  # what was to be done is done
            place.files().remove()
    _tell(job, made, output, time.perf_counter() - begin, peak, cluster, as_json)


def _output(job: Fit | Sweep | Predict, file: str) -> str:
    """Where a job writes; a prediction to several places, of which this is the first."""
    if job.task == "predict":
        return next(iter(job.outputs.values()))
    if job.output is None:
        raise wrong_usage(
            f"{file}: output is missing, and without a service nobody keeps the model; write where "
            "it is to be saved"
        )
    return job.output


def _tell(
    job: Fit | Sweep | Predict,
    made: Any,
    output: str,
    seconds: float,
    peak: int | None,
    cluster: Cluster,
    as_json: bool,
) -> None:
    from dask_em.cli.fit import fit_document, tell_fit
    from dask_em.cli.results import effort
    from dask_em.cli.text import print_json
    from dask_em.remote.secrets import without_secrets

    shown = without_secrets(output)
    spent = effort(seconds, peak, cluster.memory)
    if made is not None and as_json:
        print_json({"task": job.task, **fit_document(made, shown, seconds, peak)})
    elif made is not None:
        tell_fit(made, f"saved {shown} ({spent})")
    elif job.task == "predict":
        outputs = {name: without_secrets(url) for name, url in job.outputs.items()}
        if as_json:
            print_json({"task": "predict", "outputs": outputs, "seconds": seconds})
            return
        for name, url in outputs.items():
            print(f"{name:<14} {url}")
        print(f"written in {spent}")
