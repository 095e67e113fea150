"""Folder: where a checkpoint is, local or of any file system; what is written there is whole."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, suppress
from uuid import uuid4

from dask_em import archive
from dask_em.core.records import Record
from dask_em.errors import ArchiveError
from dask_em.place import LocalPlace, Options, Place, RemotePlace
from dask_em.remote.files import Files, open_files

__all__ = ["Folder"]


class Folder:
    """Records by name.

    What is new is written beside what is there, and what is old is removed after, so that there is
    something whole at every moment.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._url = str(place.path) if isinstance(place, LocalPlace) else _remote(place).url
        self._options = None if isinstance(place, LocalPlace) else _remote(place).options

    def __str__(self) -> str:
        return str(self.place)

    def explain(self, done: str, remedy: str) -> AbstractContextManager[None]:
        """Say what to do where a store raises; see `Place.explain`."""
        return self.place.explain(done, remedy)

    def names(self) -> list[str]:
        return self._files().names()

    def load(self, name: str) -> Record | None:
        """A record; None where there is none, or none that was written to its end."""
        if name not in self.names():
            return None
        url = self._inside(name)
        if not isinstance(self.place, LocalPlace) and not _is_whole(url, self._options):
            return None
        return archive.load(url, self._options).record

    def replace(
        self, olds: Sequence[str], name: str, record: Record, needed: Collection[str] = ()
    ) -> None:
        """Write a record, then remove older ones that are not needed.

        Those after it, in the order of their names, are kept: they are of the same work, done by
        another process that was thought dead and is ahead.
        """
        if name in olds:
            self.remove(name)  # nobody could go on with it, or it would have been read
        archive.save(self._inside(name), record, storage_options=self._options)
        with suppress(OSError):  # what is old does no harm
            for old in olds:
                if old < name and old not in needed:
                    self.remove(old)

    def remove(self, name: str) -> None:
        """Remove a record, if it is there.

        A local one has another name before anything in it goes, which is that of what a process
        that was killed has left: nobody takes a part for a record.
        """
        if isinstance(self.place, LocalPlace) and not name.startswith("."):
            aside = f".{name}.{uuid4().hex[:8]}.tmp"
            with suppress(FileNotFoundError):
                os.replace(self._inside(name), self._inside(aside))
            name = aside
        self._files().remove(name)

    def _inside(self, name: str) -> str:
        return f"{self._url}/{name}"

    def _files(self) -> Files:
        return open_files(self._url, self._options)


def _is_whole(url: str, options: Options) -> bool:
    """Whether a record was written to its end: where nothing is renamed, it may have been killed.

    Raises
    ------
    ArchiveError
        If that cannot be told.
    """
    try:
        archive.inspect(url, options)
    except ArchiveError as error:
        if error.__cause__ is None or isinstance(error.__cause__, FileNotFoundError):
            return False
        raise
    return True


def _remote(place: Place) -> RemotePlace:
    assert isinstance(place, RemotePlace)
    return place
