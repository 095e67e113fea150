"""`dask-em job init predict`: the specification of a prediction."""

from __future__ import annotations

from typing import Annotated

import typer

from dask_em.cli.jobs.draft import Draft, Turn
from dask_em.cli.jobs.options import Checkpoint, File, Owner, Priority, Tags
from dask_em.cli.jobs.specification import absolute
from dask_em.cli.model_options import GAPS, GapPolicy, OnSkipped
from dask_em.cli.options import (
    Data,
    Features,
    Keys,
    Overwrite,
    SampleDims,
    SavedModel,
    Selected,
    StorageOptions,
    Where,
    names_of,
)

__all__ = ["predict"]


def predict(
    model: SavedModel,
    data: Data,
    labels: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where the labels go, of a mixture.")
    ] = None,
    probabilities: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Where the probability of each component goes."),
    ] = None,
    log_density: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where the log-density goes, nats.")
    ] = None,
    scores: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where the scores go, of a PPCA.")
    ] = None,
    filled: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where the rows go, their gaps filled.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where the deviation of the filled goes.")
    ] = None,
    missing: Annotated[
        GapPolicy | None, typer.Option(help=f"{GAPS} By default as in the fit.")
    ] = None,
    on_bad_chunk: OnSkipped = None,
    features: Features = None,
    sample_dims: SampleDims = None,
    where: Where = None,
    keys: Keys = None,
    storage_option: StorageOptions = None,
    checkpoint: Checkpoint = None,
    overwrite: Overwrite = False,
    owner: Owner = None,
    priority: Priority = 0,
    tag: Tags = None,
    out: File = None,
) -> None:
    """Write the specification of a prediction: what a saved model says of each row.

    Paths become absolute, as a job runs elsewhere. Nothing is read of the model or the data.
    """
    outputs = {
        "class": labels,
        "probability": probabilities,
        "log_likelihood": log_density,
        "score": scores,
        "filled": filled,
        "deviation": std,
    }
    wanted = {name: absolute(path) for name, path in outputs.items() if path is not None}
    if not wanted:
        raise typer.BadParameter(
            "nothing is to be written; give --labels, --scores, --filled or another one"
        )
    selected = Selected.parse(features, sample_dims, storage_option, where)
    Draft(data, selected, None, Turn(owner, priority, tag), checkpoint).write(
        out,
        task="predict",
        model=absolute(model),
        outputs=wanted,
        keys=names_of(keys),
        overwrite=overwrite,
        missing=missing,
        resources={"on_bad_chunk": on_bad_chunk},
    )
