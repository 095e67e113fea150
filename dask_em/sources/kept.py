"""Drafts that outlive the process that made them, and are found again by the same call.

Of a local output it is a folder beside it, called by the name of the ledger::

    .labels.zarr.1f2e3d4c5b6a.draft/
        begun   there when all is there that tasks write into
        new     what takes the place of the output
        old     what it replaced, until all outputs are whole

In an object store it is the prefix itself. A claim in it says whose it is, and goes at the very
end, so that at every moment it can be told what is there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, final

from zarr.storage import LocalStore

from dask_em.errors import SourceError
from dask_em.place import LocalPlace, Place, RemotePlace, Scratch
from dask_em.remote.files import flush_entry
from dask_em.sources.drafts import WHOLE, ZARR, Draft, Marks, drafted, mark_of

if TYPE_CHECKING:
    from dask_em.engine.ledger import Ledger

__all__ = ["abandon", "is_ours", "open_draft", "owner_of", "remove_left"]

#: tells whose draft a prefix is; readers of Parquet pass over names that begin like this
CLAIM = "_dask_em_draft.json"


def open_draft(
    place: Place, overwrite: bool, marks: Marks = ZARR, ledger: Ledger | None = None
) -> AbstractContextManager[Draft]:
    """A draft for as long as the context lasts; with a ledger, one that lives on if it raises.

    Raises
    ------
    SourceError
        If all was written but is not there any more.
    """
    if ledger is None:
        return drafted(place, overwrite, marks)
    return _lasting(_kept(place, overwrite, marks, ledger), ledger)


@contextmanager
def _lasting(draft: _LocalDraft | _Prefix, ledger: Ledger) -> Iterator[Draft]:
    if not draft.made:
        if ledger.is_written:
            raise SourceError(
                f"all answers were written, but those for {draft.place} are not there any more; "
                f"remove the checkpoint {ledger}, and pass overwrite=True (--overwrite) if other "
                "outputs are in their places already"
            )
        ledger.forget()  # before anything is made that tasks have not written into
        draft.begin()
    yield draft
    with suppress(OSError):  # the outputs are whole, and the same call removes what is left
        draft.clean()


def is_ours(place: Place, ledger: Ledger) -> bool:
    """Whether what is at a place is the draft, or already the output, that a ledger keeps."""
    if isinstance(place, LocalPlace):
        return _LocalDraft(place, False, ZARR, ledger).is_put
    return owner_of(place) == ledger.name


def owner_of(place: Place) -> str | None:
    """The name of the ledger whose draft a prefix is; None where it is none."""
    if isinstance(place, LocalPlace):
        return None  # a draft is beside it
    return _claim(place).get("ledger")


def remove_left(places: Iterable[Place], ledger: Ledger) -> None:
    """Remove what a process that was killed has left beside outputs that are whole."""
    for draft in _drafts_of(places, ledger):
        draft.clean()


def abandon(places: Iterable[Place], ledger: Ledger) -> None:
    """Remove drafts that nobody will go on with; outputs that are whole stay.

    Raises
    ------
    OSError
        If one cannot be removed.
    """
    for draft in _drafts_of(places, ledger):
        draft.abandon()


def _drafts_of(places: Iterable[Place], ledger: Ledger) -> Iterator[_LocalDraft | _Prefix]:
    """What a ledger may have left at outputs, or beside them; nothing of anybody else's."""
    for place in places:
        if isinstance(place, LocalPlace) or is_ours(place, ledger):
            yield _kept(place, False, ZARR, ledger)


def _kept(place: Place, overwrite: bool, marks: Marks, ledger: Ledger) -> _LocalDraft | _Prefix:
    if isinstance(place, LocalPlace):
        return _LocalDraft(place, overwrite, marks, ledger)
    assert isinstance(place, RemotePlace)
    return _Prefix(place, overwrite, marks, ledger)


@final
class _LocalDraft(Draft):
    """A folder that is renamed."""

    kept = True

    def __init__(self, place: LocalPlace, overwrite: bool, marks: Marks, ledger: Ledger) -> None:
        folder = place.path.with_name(f".{place.path.name}.{ledger.name}.draft")
        self.scratch = Scratch(place.path, folder, overwrite)
        super().__init__(place, LocalStore(self.scratch.new), marks)
        self._ledger = ledger
        self._was_put = self.is_put
        self.made = self._was_put or (self._flag.exists() and self.scratch.new.exists())

    @property
    def folder(self) -> Place:
        return LocalPlace(self.scratch.new)

    @property
    def is_put(self) -> bool:
        """Whether it took its place: in an earlier call, or in the same one of another process."""
        gone = self._flag.exists() and not self.scratch.new.exists()
        return gone and self._ledger.is_written and self.scratch.path.exists()

    def begin(self) -> None:
        """Make room, also where a process was killed meanwhile."""
        if self.scratch.folder.exists():
            shutil.rmtree(self.scratch.folder)
        self.scratch.folder.mkdir(parents=True)

    def begun(self) -> None:
        self.scratch.flush()  # or the flag could outlive what it tells of, in a loss of power
        self._flag.touch()
        flush_entry(self.scratch.folder)
        super().begun()

    def prepare(self) -> None:
        if not self.is_put:
            self.marks.whole(self)
            self.scratch.flush()

    def put(self) -> None:
        if self.is_put:
            return
        self._was_put = True
        try:
            self.scratch.put()
        except FileNotFoundError:
            self._was_put = False
            if not self.is_put:
                raise

    def take_back(self) -> bool:
        if not self._was_put:
            return True  # if it is there, another process put it, and counts on it
        try:
            self.scratch.take_back()
        except OSError:
            return False
        return True

    def clean(self) -> None:
        """Remove what is left beside the output, which is whole."""
        if self.scratch.folder.exists():
            shutil.rmtree(self.scratch.folder)

    def abandon(self) -> None:
        """Remove it; what it was about to replace stays."""
        if self.scratch.old.exists() and not self.scratch.path.exists():
            os.replace(self.scratch.old, self.scratch.path)
        # whoever writes to it after all finds nothing to write to, rather than a part
        aside = self.scratch.folder.with_name(f"{self.scratch.folder.name}.left")
        if aside.exists():
            shutil.rmtree(aside)
        if self.scratch.folder.exists():
            os.replace(self.scratch.folder, aside)
            shutil.rmtree(aside)

    @property
    def _flag(self) -> Any:
        return self.scratch.folder / "begun"


@final
class _Prefix(Draft):
    """A prefix that is written in place, and claimed for as long as it is a draft."""

    kept = True

    def __init__(self, place: RemotePlace, overwrite: bool, marks: Marks, ledger: Ledger) -> None:
        super().__init__(place, place.store(), marks)
        self._ledger, claim = ledger.name, _claim(place)
        mine = claim.get("ledger") == self._ledger
        self.made = mine and claim["begun"]
        #: whether an output was there before, which is gone
        self.replaces: bool = claim["replaces"] if mine else overwrite and place.exists()
        self._is_whole = False

    @property
    def folder(self) -> Place:
        return self.place

    def begin(self) -> None:
        """Claim the prefix, and then clear it."""
        self._tell(begun=False)
        files = self.place.files()
        for name in files.names():
            if name != CLAIM:
                files.remove(name)

    def begun(self) -> None:
        self._tell(begun=True)
        super().begun()

    def prepare(self) -> None:
        """Nothing: it is where it will be."""

    def put(self) -> None:
        self.marks.whole(self)
        self._is_whole = True

    def take_back(self) -> bool:
        if self._is_whole and self.replaces:
            return False  # what it replaced is gone, and a whole output is better than none
        try:
            self.marks.unfinished(self)
        except Exception:  # the store does not answer
            return not self._is_whole
        return True

    def clean(self) -> None:
        """Give up the claim of an output that is whole."""
        self.place.files().remove(CLAIM)

    def abandon(self) -> None:
        """Clear the prefix, unless its output is whole."""
        if mark_of(self.place) != WHOLE:
            self.begin()
        self.clean()

    def _tell(self, begun: bool) -> None:
        told = {"ledger": self._ledger, "begun": begun, "replaces": self.replaces}
        self.place.files().write(CLAIM, json.dumps(told).encode())


def _claim(place: Place) -> dict[str, Any]:
    try:
        found = json.loads(place.files().read(CLAIM))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
