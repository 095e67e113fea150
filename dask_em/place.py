"""Place: where a Zarr group is put such that it is there as a whole or not at all."""

from __future__ import annotations

import os
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias
from uuid import uuid4

from zarr.abc.store import Store
from zarr.storage import LocalStore

from dask_em.errors import ArchiveError, SourceError
from dask_em.remote.files import Files, flush_entry, open_files
from dask_em.remote.secrets import unless_secret, without_secrets
from dask_em.remote.store import open_store
from dask_em.remote.trouble import cause_of

__all__ = [
    "URL",
    "Draft",
    "LocalPlace",
    "Options",
    "Place",
    "RemotePlace",
    "Scratch",
    "address_of",
    "parse_place",
]

URL: TypeAlias = str | os.PathLike[str]
Options: TypeAlias = Mapping[str, Any] | None


@dataclass(frozen=True)
class Draft:
    """Where to write what is to take a place."""

    store: Store
    folder: str  # in the store, for everything but the root's metadata; "" is the root


class Place(ABC):
    """A local path or a URL. Its text is for error messages."""

    @abstractmethod
    def __str__(self) -> str: ...

    @property
    @abstractmethod
    def address(self) -> tuple[str, ...]:
        """The protocol and the names from the root down, the same however it was spelled."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether anything is there."""

    @abstractmethod
    def store(self) -> Store:
        """The store to read from."""

    @abstractmethod
    def files(self) -> Files:
        """The folder of the place."""

    @abstractmethod
    def draft(self, overwrite: bool) -> AbstractContextManager[Draft]:
        """A draft that takes the place when the context ends, and vanishes when it raises.

        The root's metadata must be written last: elsewhere than on a local disk it is what
        makes the draft count.
        """

    def leftovers(self) -> str:
        """A hint at what an interrupted overwrite left aside; empty if there is nothing."""
        return ""

    @contextmanager
    def explain(self, done: str, remedy: str) -> Iterator[None]:
        """Turn whatever a store may raise into an error that says what to do.

        Errors of Zarr, fsspec and the clients of object stores have no common root.
        """
        try:
            yield
        except ArchiveError:
            raise
        except SourceError as error:  # it says what to do
            raise ArchiveError(f"{self} cannot be {done}: {error}") from error
        except Exception as error:
            raise ArchiveError(f"{self} cannot be {done} ({cause_of(error)}); {remedy}") from (
                unless_secret(error)
            )


@dataclass(frozen=True)
class Scratch:
    """A hidden folder beside a local place, where what is to take the place is written."""

    path: Path  # of the place
    folder: Path
    overwrite: bool  # whether what is at the place may be replaced

    @property
    def new(self) -> Path:
        return self.folder / "new"

    @property
    def old(self) -> Path:
        return self.folder / "old"

    def flush(self) -> None:
        """Force what was written to the disk."""
        _flush(self.new)

    def put(self) -> None:
        """Rename what was written to its place, and what is there to the scratch folder."""
        if self.overwrite and self.path.exists():
            self._swap()
        else:
            os.replace(self.new, self.path)  # fails if something appeared there meanwhile
        flush_entry(self.path.parent)

    def take_back(self) -> None:
        """Undo `put`, as far as it got."""
        if self.new.exists():
            return
        os.replace(self.path, self.new)
        if self.old.exists():
            os.replace(self.old, self.path)
        flush_entry(self.path.parent)

    def _swap(self) -> None:
        os.replace(self.path, self.old)
        try:
            os.replace(self.new, self.path)
        except BaseException:
            os.replace(self.old, self.path)
            raise


@dataclass(frozen=True)
class LocalPlace(Place):
    """A directory. A draft is written beside it, flushed to the disk and renamed."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def address(self) -> tuple[str, ...]:
        return ("file", *self.path.parts)

    def exists(self) -> bool:
        return self.path.exists()

    def store(self) -> Store:
        return LocalStore(self.path, read_only=True)

    def files(self) -> Files:
        return open_files(str(self.path))

    @contextmanager
    def draft(self, overwrite: bool) -> Iterator[Draft]:
        with self.scratch(overwrite) as scratch:
            yield Draft(LocalStore(scratch.new), "")
            scratch.flush()
            scratch.put()

    @contextmanager
    def scratch(self, overwrite: bool) -> Iterator[Scratch]:
        """A scratch folder that vanishes when the context ends, with what is in it then."""
        folder, name = self.path.parent, self.path.name
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(
            prefix=f".{name}.", suffix=".tmp", dir=folder, ignore_cleanup_errors=True
        ) as made:
            yield Scratch(self.path, Path(made), overwrite)

    def leftovers(self) -> str:
        found = sorted(self.path.parent.glob(f".{self.path.name}.*.tmp/old"))
        return f" (an interrupted overwrite left the old one at {found[-1]})" if found else ""


@dataclass(frozen=True)
class RemotePlace(Place):
    """A prefix in a store that fsspec opens. A draft over something gets a folder of its own."""

    url: str = field(repr=False)
    options: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return without_secrets(self.url)

    @property
    def address(self) -> tuple[str, ...]:
        files = self.files()
        return address_of(files.system, files.path)

    def exists(self) -> bool:
        return self.files().exists()

    def store(self) -> Store:
        return open_store(self.url, self.options)

    def files(self) -> Files:
        return open_files(self.url, self.options)

    @contextmanager
    def draft(self, overwrite: bool) -> Iterator[Draft]:
        taken = self.exists()
        if taken and not overwrite:
            raise FileExistsError(f"something appeared at {self} meanwhile")
        old = self._entries() if taken else []
        folder = f"arrays-{uuid4().hex[:8]}" if taken else ""
        try:
            yield Draft(self.store(), folder)
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                self._remove([folder])
            raise
        with suppress(Exception):  # the new model is whole; at worst the old arrays stay as well
            self._remove(old)

    def _entries(self) -> list[str]:
        return [name for name in self.files().names() if name != "zarr.json"]

    def _remove(self, names: list[str]) -> None:
        files = self.files()
        for name in names:
            files.remove(name)


def parse_place(url: URL, storage_options: Options = None) -> Place:
    """The place that a path or URL names; reaches for nothing."""
    text = os.fspath(url)
    protocol, separator, rest = text.partition("://")
    if not separator:
        return LocalPlace(Path(text).expanduser().resolve())
    if protocol in ("file", "local"):
        return LocalPlace(Path(rest).resolve())
    return RemotePlace(text.rstrip("/"), dict(storage_options or {}))


def address_of(files: Any, path: str) -> tuple[str, ...]:
    """The address of a path in one of fsspec's file systems; reaches for nothing."""
    protocols = [files.protocol] if isinstance(files.protocol, str) else list(files.protocol)
    if "file" in protocols:
        return LocalPlace(Path(path).resolve()).address
    return (protocols[0], *(name for name in posixpath.normpath(path).split("/") if name))


def _flush(folder: Path) -> None:
    """Force a folder and all in it to the disk, so that the rename cannot overtake the bytes."""
    for root, _, files in os.walk(folder):
        for name in files:
            flush_entry(Path(root, name))
        flush_entry(Path(root))
