"""Options of several commands about jobs."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

__all__ = [
    "Checkpoint",
    "File",
    "JobId",
    "JobIds",
    "Owner",
    "Priority",
    "Service",
    "SpecFile",
    "Tags",
]

QUEUE = "Its place among jobs"

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
Checkpoint: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Folder of a checkpoint to go on from, if one is there; the job's own is left there.",
    ),
]
Owner: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Whose it is; owners take turns.",
        show_default="who you are here",
        rich_help_panel=QUEUE,
    ),
]
Priority: TypeAlias = Annotated[
    int,
    typer.Option(min=-100, max=100, help="Higher ones start first.", rich_help_panel=QUEUE),
]
Tags: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="NAME=VALUE",
        help="What people call it. May be repeated.",
        rich_help_panel=QUEUE,
    ),
]
File: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="Where the specification is written.",
        show_default="stdout",
    ),
]
