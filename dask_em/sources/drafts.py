"""Outputs while they are written: at the end all take their places, or none."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore

from dask_em.errors import DaskEmError, SourceError
from dask_em.place import LocalPlace, Place, RemotePlace, Scratch
from dask_em.sources.marked import MARK_FILE, mark_in

if TYPE_CHECKING:
    from dask_em.engine.ledger import Ledger

__all__ = [
    "MARK",
    "UNFINISHED",
    "WHOLE",
    "Draft",
    "Marks",
    "drafted",
    "explained",
    "mark_of",
    "not_there",
    "put_all",
    "stamps_of",
    "unwritten",
]

#: the attribute of the group that tells an output of dask_em, and what it says
MARK, UNFINISHED, WHOLE = "dask_em", "unfinished output", "output"
#: seconds that a chunk takes to be written, generously
GRACE = 0.5


class Draft(ABC):
    """An output while it is written."""

    #: whether it lives on when the work is broken off, and the same call goes on with it
    kept = False
    #: whether all is there that tasks write into, from an earlier call
    made: bool = False

    def __init__(self, place: Place, store: Store, marks: Marks) -> None:
        self.place, self.store, self.marks = place, store, marks

    @property
    @abstractmethod
    def folder(self) -> Place:
        """Where it is written."""

    @abstractmethod
    def prepare(self) -> None:
        """Do all that can be done before `put`."""

    @abstractmethod
    def put(self) -> None:
        """Make the draft the output of its place."""

    @abstractmethod
    def take_back(self) -> bool:
        """Undo `put`, as far as it got; False if the output stays."""

    def begun(self) -> None:
        """All is there that tasks write into."""
        self.made = True


@dataclass(frozen=True)
class Marks:
    """How outputs of one form are marked."""

    sentinel: str  # the name of what is there as long as something may be written
    whole: Callable[[Draft], None]
    unfinished: Callable[[Draft], None]


class _LocalDraft(Draft):
    """A folder that is renamed."""

    def __init__(self, place: Place, scratch: Scratch, marks: Marks) -> None:
        super().__init__(place, LocalStore(scratch.new), marks)
        self.scratch = scratch

    @property
    def folder(self) -> Place:
        return LocalPlace(self.scratch.new)

    def prepare(self) -> None:
        self.marks.whole(self)
        self.scratch.flush()

    def put(self) -> None:
        self.scratch.put()

    def take_back(self) -> bool:
        try:
            self.scratch.take_back()
        except OSError:
            return False
        return True

    def give_up(self) -> None:
        """Let tasks that still run come to an end, so that none writes while it is removed."""
        with suppress(OSError):
            (self.scratch.new / self.marks.sentinel).unlink()  # they look for it before they write
        time.sleep(GRACE)


class _RemoteDraft(Draft):
    """A prefix that is written in place: the mark says whether it is whole."""

    def __init__(self, place: Place, replaces: bool, marks: Marks) -> None:
        super().__init__(place, place.store(), marks)
        self.replaces, self.whole = replaces, False

    @property
    def folder(self) -> Place:
        return self.place

    def prepare(self) -> None:
        """Nothing: it is where it will be."""

    def put(self) -> None:
        self.marks.whole(self)
        self.whole = True

    def take_back(self) -> bool:
        # what it replaced is gone, and a whole output is better than none
        self.whole = self.whole and self.replaces
        return not self.whole


def _mark_whole(draft: Draft) -> None:
    if isinstance(draft.folder, LocalPlace):
        _sweep(draft.folder.path)
    zarr.open_group(draft.store, mode="r+", zarr_format=3).attrs[MARK] = WHOLE
    with warnings.catch_warnings():
        # in format 3 it is a convention, and the one by which xarray opens a store quickly
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(draft.store, zarr_format=3)


def _mark_unfinished(draft: Draft) -> None:
    zarr.open_group(draft.store, mode="r+", zarr_format=3).attrs[MARK] = UNFINISHED


def _sweep(folder: Path) -> None:
    """Remove what workers that died while they wrote have left in a Zarr store."""
    for left in folder.rglob("*.partial"):
        if left.is_file():
            left.unlink()


ZARR = Marks("zarr.json", _mark_whole, _mark_unfinished)


@contextmanager
def drafted(place: Place, overwrite: bool, marks: Marks = ZARR) -> Iterator[Draft]:
    """A draft that vanishes when the context ends, unless it was put in its place."""
    if isinstance(place, LocalPlace):
        with place.scratch(overwrite) as scratch:
            local = _LocalDraft(place, scratch, marks)
            try:
                yield local
            except BaseException:
                local.give_up()
                raise
        return
    assert isinstance(place, RemotePlace)
    files = place.files()
    replaces = overwrite and files.exists()
    if replaces:
        files.remove()
    remote = _RemoteDraft(place, replaces, marks)
    try:
        yield remote
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            if not remote.whole:
                time.sleep(GRACE)  # tasks that still run end, so that none writes after
                files.remove()
        raise


def put_all(drafts: Sequence[Draft], ledger: Ledger | None = None) -> None:
    """Put drafts in their places; if one cannot be, those before it are taken back.

    Parameters
    ----------
    drafts : sequence of Draft
    ledger : Ledger, optional
        Of drafts that are kept.

    Raises
    ------
    SourceError
        Which tells what stays nevertheless.
    """
    for draft in drafts:
        with explained(draft.place, draft.kept):
            draft.prepare()
    try:
        for draft in drafts:
            with explained(draft.place, draft.kept):
                draft.put()
    except BaseException as error:
        stay = [str(draft.place) for draft in drafts if not draft.take_back()]
        if not isinstance(error, SourceError) or len(drafts) == 1:
            raise
        rest = f"but {', '.join(stay)} is whole and stays" if stay else "nor is another output made"
        raise SourceError(f"{error}, {rest}") from error.__cause__
    if ledger is not None:
        ledger.finish(stamps_of(draft.place for draft in drafts))


def mark_of(place: Place) -> str | None:
    """What an output says of itself, `UNFINISHED` or `WHOLE`; None if it is no output of dask_em.

    Raises
    ------
    SourceError
        If the store does not answer, or denies access.
    """
    try:
        mark = zarr.open_group(place.store(), mode="r", zarr_format=3).attrs.get(MARK)
    except SourceError:
        raise
    except Exception:  # no group; it may be an output in another form
        mark = mark_in(place)
    return str(mark) if mark in (UNFINISHED, WHOLE) else None


def stamps_of(places: Iterable[Place]) -> dict[str, str | None]:
    """For each output another one when it is written anew; None where none is that is whole."""
    return {str(place): _stamp(place) for place in places}


def _stamp(place: Place) -> str | None:
    if mark_of(place) != WHOLE:
        return None
    files = place.files()
    return files.stamp(ZARR.sentinel) or files.stamp(MARK_FILE)


@contextmanager
def explained(place: Place, kept: bool = False) -> Iterator[None]:
    """Tell whatever a store may raise as an output that cannot be written."""
    try:
        yield
    except DaskEmError:  # it says which object, and what to do
        raise
    except Exception as error:
        raise unwritten(str(place), error, kept) from error


def unwritten(place: str, error: Exception, kept: bool = False) -> SourceError:
    """The error of an output that cannot be written, and is kept as far as it is or not."""
    cause = error.strerror if isinstance(error, OSError) and error.strerror else error
    rest = (
        "free some space or check permissions; what is written so far is kept, and the same call "
        "with the same checkpoint goes on from it"
        if kept
        else "free some space, check permissions or choose another path; nothing half-written is "
        "left there"
    )
    return SourceError(
        f"the output {place} cannot be written ({type(error).__name__}: {cause}); {rest}"
    )


def not_there(place: str) -> SourceError:
    """The error of a worker that finds no draft."""
    # a worker on another machine, or after the writing was given up, must not make folders
    return SourceError(
        f"the output {place} is not there on a worker: either its writing has ended, or the "
        "worker does not mount the folder; write to one that all workers mount"
    )
