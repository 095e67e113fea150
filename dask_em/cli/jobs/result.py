"""`dask-em result`: the model that a job made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dask_em.cli.jobs.connection import connected_to
from dask_em.cli.jobs.options import JobId, Service
from dask_em.cli.options import JSON, Overwrite, Selected
from dask_em.cli.outcome import wrong_usage
from dask_em.cli.saving import check_writable
from dask_em.cli.show import show_model

if TYPE_CHECKING:
    from dask_em.service.client import Job

__all__ = ["result"]


def result(
    job: JobId,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="Path where the model is saved.", show_default="JOB.zarr"),
    ] = None,
    overwrite: Overwrite = False,
    scheduler: Service = None,
    as_json: JSON = False,
) -> None:
    """Save the model that a job made, and show what it is."""
    path = f"{job}.zarr" if out is None else out
    if "://" in path:
        raise wrong_usage(
            f"--out {path} is a URL, and a result is saved here; give a path, or name the URL as "
            "output of the specification"
        )
    check_writable(path, overwrite)
    with connected_to(scheduler) as service:
        _save(service.job(job), Path(path), overwrite)
    show_model(path, Selected(None, None, None), as_json)
    if not as_json:
        print(f"saved {path}")


def _save(job: Job, path: Path, overwrite: bool) -> None:
    from dask_em.place import LocalPlace

    place = LocalPlace(path.expanduser().resolve())
    with place.scratch(overwrite) as scratch:  # what is there stays until all has come
        job.save_result(scratch.new)
        scratch.flush()
        scratch.put()
