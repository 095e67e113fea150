"""The commands under one name. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from dask_em.cli.demo import demo
from dask_em.cli.fill import fill
from dask_em.cli.fit import fit
from dask_em.cli.inspect import inspect
from dask_em.cli.jobs.group import job
from dask_em.cli.jobs.listing import jobs
from dask_em.cli.jobs.logs import logs
from dask_em.cli.jobs.result import result
from dask_em.cli.jobs.run import run
from dask_em.cli.jobs.serve import serve
from dask_em.cli.jobs.steer import cancel, delete, resume
from dask_em.cli.jobs.submit import submit
from dask_em.cli.jobs.watch import watch
from dask_em.cli.outcome import reported
from dask_em.cli.plan import plan
from dask_em.cli.predict import predict
from dask_em.cli.show import show
from dask_em.cli.sweep import sweep
from dask_em.cli.transform import transform

__all__ = ["app"]

app = typer.Typer(
    help="Mixtures and probabilistic PCA by Expectation-Maximization, for data larger than memory.",
    epilog="Exit codes: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from dask_em import __version__

        print(f"dask-em {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Mixtures and probabilistic PCA by Expectation-Maximization, for data larger than memory."""


#: commands by panel, each with an example
COMMANDS: dict[str, tuple[tuple[Callable[..., None], str], ...]] = {
    "Models": (
        (inspect, "dask-em inspect data.zarr --workers 2 --memory 1GB"),
        (plan, "dask-em plan data.zarr -k 8 --workers 2 --memory 1GB"),
        (fit, "dask-em fit data.zarr -k 8 --out model.zarr --workers 2 --memory 1GB"),
        (sweep, "dask-em sweep data.zarr -k 1:8 --covariance full,diag --out best.zarr"),
        (predict, "dask-em predict model.zarr data.zarr --out labels.zarr"),
        (transform, "dask-em transform model.zarr data.zarr --out scores.zarr"),
        (fill, "dask-em fill model.zarr data.zarr --out filled.zarr --std spread.zarr"),
        (show, "dask-em show model.zarr"),
        (demo, "dask-em demo --size 500MB"),
    ),
    "Jobs, which a scheduler runs": (
        (serve, "dask-em serve --store jobs --workers 4 --memory 2GB"),
        (submit, "dask-em submit job.json --scheduler tcp://127.0.0.1:8786"),
        (jobs, "dask-em jobs --state running --owner ada"),
        (watch, "dask-em watch 3f2a91c0"),
        (logs, "dask-em logs 3f2a91c0 --last 20 --follow"),
        (cancel, "dask-em cancel 3f2a91c0 77b01d5e"),
        (resume, "dask-em resume 3f2a91c0"),
        (result, "dask-em result 3f2a91c0 --out model.zarr"),
        (delete, "dask-em delete 3f2a91c0"),
        (run, "dask-em run job.json --workers 4 --memory 2GB"),
    ),
}

for panel, commands in COMMANDS.items():
    for command, example in commands:
        told = f"Example: [bold]{example}[/bold]"
        app.command(epilog=told, rich_help_panel=panel)(reported(command))

app.add_typer(job, rich_help_panel=panel)
