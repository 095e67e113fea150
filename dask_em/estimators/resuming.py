"""Answers that are written with a checkpoint: what it is of, and whether nothing is left to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dask_em.engine.ledger import Ledger, Stage
from dask_em.engine.predict import Prediction
from dask_em.engine.source import Source
from dask_em.engine.specification import answers_specification
from dask_em.estimators.rows import Selection
from dask_em.place import URL, Options, Place, parse_place
from dask_em.sources import kept
from dask_em.sources.apart import check_apart
from dask_em.sources.drafts import stamps_of
from dask_em.sources.zarr_output import Planned

__all__ = ["abandon", "checkpoint_at", "is_finished", "open_ledger"]


def checkpoint_at(
    checkpoint: URL | Place, output: Any, output_options: Options, rows: Any, row_options: Options
) -> Place:
    """Where a checkpoint goes; it is reached like the output or the rows that have its protocol."""
    found: URL | Place | None = checkpoint
    for data, options in ((output, output_options), (rows, row_options)):
        found = Selection(storage_options=options).checkpoint(found, data)
    assert found is not None
    return found if isinstance(found, Place) else parse_place(found)


def open_ledger(
    checkpoint: Place,
    source: Source,
    prediction: Prediction,
    planned: Sequence[Planned],
    keys: Sequence[str] | None,
    output_options: Options,
) -> Ledger:
    """The ledger at a checkpoint, of the answers that are planned; nothing is made yet.

    Raises
    ------
    ArchiveError
        If the checkpoint is that of other answers.
    InputError
        If it is where an output is, or the model tells not what it is made of.
    """
    check_apart(checkpoint, [one.url for one in planned], output_options)
    outputs: Mapping[str, str | None] = {
        **{f"place of {one.name}": str(parse_place(one.url, output_options)) for one in planned},
        "keys": ", ".join(keys) if keys else None,
    }
    return Ledger.open(checkpoint, answers_specification(prediction, source.fingerprint(), outputs))


def is_finished(ledger: Ledger, planned: Sequence[Planned], output_options: Options) -> bool:
    """Whether an earlier call has written all answers, and its outputs are still there.

    Where they are not, also because others are in their places, the ledger begins anew.
    """
    if ledger.stage is not Stage.WHOLE:
        return False
    places = [parse_place(url, output_options) for url in dict.fromkeys(p.url for p in planned)]
    if stamps_of(places) == ledger.stamps:
        kept.remove_left(places, ledger)
        return True
    ledger.forget()
    return False


def abandon(checkpoint: Place, places: Sequence[Place]) -> None:
    """Remove what was begun to be written of answers that nobody will go on with.

    Parameters
    ----------
    checkpoint : Place
        Where it is kept how far they are; it stays, and tells of no answers.
    places : sequence of Place
        Of the outputs.

    Raises
    ------
    OSError
        If something cannot be removed, or the checkpoint is something else.
    """
    ledger = Ledger.left(checkpoint)
    if ledger is None:
        return
    if ledger.stage is not Stage.WHOLE:
        ledger.forget()  # before anything goes that it tells of: somebody may go on after all
    kept.abandon(places, ledger)
