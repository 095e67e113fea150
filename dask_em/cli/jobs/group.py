"""`dask-em job`: specifications of jobs written and checked, before anything runs."""

from __future__ import annotations

import typer

from dask_em.cli.jobs.init_fit import fit
from dask_em.cli.jobs.init_predict import predict
from dask_em.cli.jobs.init_sweep import sweep
from dask_em.cli.jobs.validate import schema, validate
from dask_em.cli.outcome import reported

__all__ = ["job"]

job = typer.Typer(
    name="job",
    help="Write the specification of a job, or check one.",
    epilog="Example: [bold]dask-em job validate job.json[/bold]",
    no_args_is_help=True,
)
init = typer.Typer(
    name="init",
    help="Write a complete specification, from the options that the work would have here.",
    epilog="Example: [bold]dask-em job init fit data.zarr -k 8 --out job.json[/bold]",
    no_args_is_help=True,
)
job.add_typer(init)

for group, command, example in (
    (init, fit, "dask-em job init fit data.zarr -k 8 --output model.zarr --out job.json"),
    (init, sweep, "dask-em job init sweep data.zarr -k 1:8 --output best.zarr --out job.json"),
    (init, predict, "dask-em job init predict model.zarr data.zarr --labels labels.zarr"),
    (job, validate, "dask-em job validate job.json"),
    (job, schema, "dask-em job schema"),
):
    group.command(epilog=f"Example: [bold]{example}[/bold]")(reported(command))
