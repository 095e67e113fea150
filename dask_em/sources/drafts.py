"""Outputs while they are written: at the end all take their places, or none."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore

from dask_em.errors import SourceError
from dask_em.place import LocalPlace, Place, RemotePlace, Scratch

__all__ = [
    "MARK",
    "UNFINISHED",
    "WHOLE",
    "Draft",
    "Marks",
    "drafted",
    "explained",
    "put_all",
    "unwritten",
]

#: the attribute of the group that tells an output of dask_em, and what it says
MARK, UNFINISHED, WHOLE = "dask_em", "unfinished output", "output"
#: seconds that a chunk takes to be written, generously
GRACE = 0.5


class Draft(ABC):
    """An output while it is written."""

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


@dataclass(frozen=True)
class Marks:
    """How outputs of one form are marked."""

    sentinel: str  # the name of what is there as long as something may be written
    whole: Callable[[Draft], None]


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
    zarr.open_group(draft.store, mode="r+", zarr_format=3).attrs[MARK] = WHOLE
    with warnings.catch_warnings():
        # in format 3 it is a convention, and the one by which xarray opens a store quickly
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(draft.store, zarr_format=3)


ZARR = Marks("zarr.json", _mark_whole)


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


def put_all(drafts: Sequence[Draft]) -> None:
    """Put drafts in their places; if one cannot be, those before it are taken back.

    Raises
    ------
    SourceError
        Which tells what stays nevertheless.
    """
    for draft in drafts:
        with explained(draft.place):
            draft.prepare()
    try:
        for draft in drafts:
            with explained(draft.place):
                draft.put()
    except BaseException as error:
        stay = [str(draft.place) for draft in drafts if not draft.take_back()]
        if not isinstance(error, SourceError) or len(drafts) == 1:
            raise
        rest = f"but {', '.join(stay)} is whole and stays" if stay else "nor is another output made"
        raise SourceError(f"{error}, {rest}") from error.__cause__


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Tell whatever a store may raise as an output that cannot be written."""
    try:
        yield
    except SourceError:  # it says which object, and what to do
        raise
    except Exception as error:
        raise unwritten(str(place), error) from error


def unwritten(place: str, error: Exception) -> SourceError:
    """The error of an output that cannot be written."""
    cause = error.strerror if isinstance(error, OSError) and error.strerror else error
    return SourceError(
        f"the output {place} cannot be written ({type(error).__name__}: {cause}); free some "
        "space, check permissions or choose another path; nothing half-written is left there"
    )
