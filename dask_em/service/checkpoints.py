"""Checkpoints: what a driver begins with, and what it leaves.

Each driver of a fit writes a folder of its own, which begins as a copy of the last one that counts:
so one that is dead for the service, and does not know it, writes over nothing. The first driver
begins with the checkpoint that the specification names, and the last one leaves its own there.
"""

from __future__ import annotations

from dask_em.engine.copying import copy_checkpoint
from dask_em.errors import ArchiveError
from dask_em.place import Place, parse_place
from dask_em.service.spec import Fit, Predict, Sweep
from dask_em.service.store import CHECKPOINTS, JobStore
from dask_em.service.work import checkpoint_of, options_of

__all__ = ["abandon", "begin", "leave"]

#: the checkpoint of answers
ANSWERS = "answers"


def begin(
    store: JobStore, id: str, counts: str | None, own: str, spec: Fit | Sweep | Predict
) -> Place:
    """The checkpoint of a driver, with what is in the one to go on from.

    Parameters
    ----------
    store : JobStore
    id : str
        Of the job.
    counts : str, or None
        The name of the last checkpoint that counts.
    own : str
        The name of that of this driver.
    spec : specification

    Raises
    ------
    ArchiveError
        If it cannot be written, or something else is where the specification names one.
    """
    given = checkpoint_of(spec)
    if isinstance(spec, Predict):
        # its tasks write the same bits whoever sends them, so that all drivers share one
        return given or _inside(store, id, ANSWERS)
    place = _inside(store, id, own)
    if counts is None:
        if given is not None:
            copy_checkpoint(given, place)
    elif counts != own and not copy_checkpoint(before := _inside(store, id, counts), place):
        raise ArchiveError(
            f"the checkpoint {before}, from which the job is to go on, is not there any more; "
            "restore it, or submit the job anew"
        )
    return place


def leave(place: Place, spec: Fit | Sweep | Predict) -> None:
    """Put the checkpoint of a driver that is done where the specification wants it.

    Raises
    ------
    ArchiveError
        If it cannot be written, or something else is there, also the checkpoint of another fit.
    """
    given = checkpoint_of(spec)
    if given is None or isinstance(spec, Predict):
        return
    copy_checkpoint(place, given)


def abandon(store: JobStore, id: str, spec: Fit | Sweep | Predict) -> None:
    """Remove what a job that is to be forgotten has begun to write beside its outputs.

    Raises
    ------
    OSError
        If it cannot be removed.
    """
    if not isinstance(spec, Predict) or spec.checkpoint is not None:
        return  # somebody may go on with what stands elsewhere
    from dask_em.estimators import resuming

    options = spec.data.storage_options
    urls = dict.fromkeys(spec.outputs.values())
    resuming.abandon(
        _inside(store, id, ANSWERS), [parse_place(url, options_of(url, options)) for url in urls]
    )


def _inside(store: JobStore, id: str, name: str) -> Place:
    return parse_place(store.inside(id, CHECKPOINTS, name), store.options)
