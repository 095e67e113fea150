"""Copies of checkpoints, in any file systems, of which somebody may still write the first."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress

from dask_em.engine.checkpoint import MARKS, RECORDS
from dask_em.engine.folder import Folder
from dask_em.engine.mark import ROOM
from dask_em.errors import ArchiveError
from dask_em.place import Place

__all__ = ["copy_checkpoint"]

#: nobody ends passes so fast for long
TRIES = 3
#: seconds, of which there are more between later tries
PAUSE = 0.2


def copy_checkpoint(place: Place, to: Place) -> bool:
    """Copy the checkpoint of a fit, so that it can be gone on from at every moment.

    Records are read and written, not files: each is there as a whole or not at all, and nothing
    else is, to which a link in the folder may lead.

    Parameters
    ----------
    place : Place
        Of the checkpoint.
    to : Place
        Where nothing is, or a checkpoint of the same fit. What is older in that is removed, unless
        somebody is ahead there.

    Returns
    -------
    bool
        Whether there is a checkpoint at all.

    Raises
    ------
    ArchiveError
        If one of them cannot be read or written, or something else is there.
    """
    source, target = Folder(place), Folder(to)
    with place.explain("used as a checkpoint", ROOM):
        mark = MARKS.find(place, None)
    if mark is None:
        return False
    with to.explain("used as a checkpoint", ROOM):
        MARKS.find(to, mark["specification"])
        MARKS.write(to, mark["specification"])  # first: without it, records are something else
    names = _copied(source, target)
    with suppress(OSError):  # what is old does no harm
        for name in _outdated(_records(target), names):
            target.remove(name)
    return True


def _copied(source: Folder, target: Folder) -> list[str]:
    """Copy all records; return their names."""
    for number in range(TRIES):
        time.sleep(number * PAUSE)
        names, trouble = _records(source), None
        last = {_kind(name): name for name in names}
        for name in names:
            try:
                _copy(source, target, name)
            except ArchiveError as error:
                # a part of one that nobody needs any more may be left, where nothing is renamed
                if name == last[_kind(name)] or not _follows(name):
                    trouble = error
        if trouble is None and _records(source) == names:
            return names
    if trouble is not None:
        raise trouble
    raise ArchiveError(
        f"the checkpoint {source} changed in each of {TRIES} tries to copy it to {target}; see "
        "that nobody else writes it, then try again"
    )


def _copy(source: Folder, target: Folder, name: str) -> None:
    there = _records(target)
    if name in there and target.load(name) is not None:
        return  # that of the same fit
    record = source.load(name)
    if record is not None:  # else it was not written to its end
        target.replace([name] if name in there else [], name, record)


def _records(folder: Folder) -> list[str]:
    """The names of records, in an order in which each one needs those before it at most."""
    with folder.explain("read", ROOM):
        return sorted(name for name in folder.names() if re.fullmatch(RECORDS, name))


def _outdated(there: Sequence[str], copied: Sequence[str]) -> list[str]:
    """What of the records that are there is older than those that were copied."""
    last = {_kind(name): name for name in copied}
    if any(name > last.get(_kind(name), name) for name in there):
        return []  # somebody has gone on there meanwhile, and may need them
    return [name for name in there if name < last.get(_kind(name), name) and name not in copied]


def _follows(name: str) -> bool:
    """Whether a record has all that is needed of those of its kind before it."""
    return name.startswith(("start-", "sample-"))


def _kind(name: str) -> str:
    return name.rpartition("-")[0]
