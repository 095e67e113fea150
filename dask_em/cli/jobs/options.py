"""Options of several commands about jobs."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

__all__ = ["JobId", "JobIds", "Service", "SpecFile"]

JobId: TypeAlias = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]
JobIds: TypeAlias = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of the jobs.")]
SpecFile: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="The specification, as dask-em job init writes it; - for stdin."
    ),
]
Service: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="The scheduler that has the job service, e.g. tcp://host:8786.",
        show_default="DASK_SCHEDULER_ADDRESS, or scheduler-address of Dask's configuration",
    ),
]
