"""Checkpoints: what a driver begins with, and what it leaves.

Each driver of a fit writes a folder of its own, which begins as a copy of the last one that counts:
so one that is dead for the service, and does not know it, writes over nothing. The first driver
begins with the checkpoint that the specification names, and the last one leaves its own there.
"""

from __future__ import annotations

from dask_em.engine.mark import ROOM
from dask_em.errors import ArchiveError
from dask_em.place import Place, parse_place
from dask_em.remote.files import Files
from dask_em.remote.secrets import without_secrets
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
    if counts is not None and counts != own:
        _bring(_inside(store, id, counts), place)
    elif counts is None and given is not None and given.exists():
        _bring(given, place)
    return place


def leave(place: Place, spec: Fit | Sweep | Predict) -> None:
    """Put the checkpoint of a driver that is done where the specification wants it.

    Raises
    ------
    ArchiveError
        If it cannot be written, or something else is there.
    """
    given = checkpoint_of(spec)
    if given is None or isinstance(spec, Predict):
        return
    _bring(place, given)
    with given.explain("written", ROOM):
        there, files = place.files().names(), given.files()
        for name in files.names():
            if name not in there:  # of the passes before
                files.remove(name)


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


def _bring(place: Place, to: Place) -> None:
    """Copy a checkpoint that somebody may still write."""
    files = place.files()
    with to.explain("written", ROOM):
        for last in (False, False, True):
            try:
                _copy(files, to.files())
            except FileNotFoundError as error:
                # it was replaced meanwhile; nobody can be that fast for long
                if last:
                    raise ArchiveError(
                        f"the checkpoint {without_secrets(files.url)} changes while it is copied, "
                        "or is not there; see that nobody else writes it"
                    ) from error
                continue
            return


def _copy(files: Files, to: Files) -> None:
    for name in files.names():
        if not name.startswith("."):
            files.copy(name, to)
