"""`dask-em result`: the model that a job made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dask_em.cli.jobs.connection import connected_to
from dask_em.cli.jobs.options import JobId, Service
from dask_em.cli.jobs.words import failure
from dask_em.cli.options import JSON, Overwrite, Selected
from dask_em.cli.saving import check_writable
from dask_em.cli.show import show_model
from dask_em.errors import JobStateError

if TYPE_CHECKING:
    from dask_em.service.view import JobView

__all__ = ["result"]


def result(
    job: JobId,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", help="Path or URL where the model is saved.", show_default="JOB.zarr"
        ),
    ] = None,
    overwrite: Overwrite = False,
    scheduler: Service = None,
    as_json: JSON = False,
) -> None:
    """Save the model that a job made, and show what it is."""
    path = f"{job}.zarr" if out is None else out
    check_writable(path, overwrite)
    with connected_to(scheduler) as service:
        found = service.job(job)
        _check_done(found.view)
        found.save_result(path, overwrite=overwrite)
    show_model(path, Selected(None, None, None), as_json)
    if not as_json:
        print(f"saved {path}")


def _check_done(view: JobView) -> None:
    """Raise where a result would be waited for."""
    if view.state == "failed":
        raise JobStateError(
            f"job {view.id} failed and made no model: {failure(view)}; dask-em resume {view.id} "
            "lets it go on"
        )
    if view.state != "done":
        raise JobStateError(
            f"job {view.id} is {view.state}; its model is there when it is done, dask-em watch "
            f"{view.id} waits for that"
        )
