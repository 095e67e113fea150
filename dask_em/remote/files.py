"""File systems of URLs, opened in one way, and the few things that are done in their folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkstemp
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from dask_em.remote.patience import patiently
from dask_em.remote.remedies import no_client
from dask_em.remote.secrets import unless_secret
from dask_em.remote.trouble import is_lacking_home

__all__ = [
    "Files",
    "ask_once",
    "configured",
    "flush_entry",
    "open_files",
    "open_filesystem",
    "opening",
    "own_filesystem",
    "stamp_of",
]

T = TypeVar("T")

#: several reads of several threads are under way at once; botocore's own limit is 10
CONNECTIONS = 64
#: seconds without an answer after which a request is given up
CONNECT_SECONDS, READ_SECONDS = 5, 15
#: bytes of the parts in which a large file is written; S3 takes none below 5 MiB
PART_BYTES = 8 << 20


def open_filesystem(url: str, storage_options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    It makes one try of each request; whoever uses it wraps calls into `patiently`, which makes
    several. On a worker it is opened anew from URL and options (fsspec keeps it): pickled, it
    would come back with its own retries.

    Raises
    ------
    SourceError
        If no file system is known by the protocol, or its package is not installed.
    """
    with opening(url):
        files, path = fsspec.url_to_fs(url, **configured(url, storage_options))
    ask_once(files)
    return files, str(path)


def own_filesystem(url: str, storage_options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """As `open_filesystem`, with the tries of its client: for libraries that read through it."""
    with opening(url):
        files, path = fsspec.url_to_fs(url, **(storage_options or {}))
    return files, str(path)


@contextmanager
def opening(url: str) -> Iterator[None]:
    """Say what to do where the file system of a URL cannot be made."""
    try:
        yield
    except (ImportError, TypeError, ValueError) as error:
        raise no_client(error, url) from unless_secret(error)


def ask_once(files: Any) -> None:
    """Turn off the retries of s3fs, which multiply with those of its client."""
    if type(files).__name__ == "S3FileSystem":
        files.retries = 1  # of this instance, which has our options, so nobody else's


def configured(url: str, storage_options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options for fsspec with what dask_em adds; what was given stands."""
    options = dict(storage_options or {})
    if url.partition("://")[0] not in ("s3", "s3a"):
        return options
    config = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "max_pool_connections": CONNECTIONS,
        "retries": {"mode": "standard", "total_max_attempts": 1},
        **options.get("config_kwargs", {}),
    }
    # with more than one connection for an object, s3fs asks for its size before it reads it
    return {"max_concurrency": 1, **options, "config_kwargs": config}


@dataclass(frozen=True)
class Files:
    """A folder in a file system. Calls are patient, and see what others wrote meanwhile."""

    url: str
    system: Any
    path: str

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or a folder."""
        return self._told(name) is not None

    def is_folder(self) -> bool:
        """Whether the path is a folder, so that names can be in it."""
        found = self._told()
        return found is not None and found["type"] == "directory"

    def stamp(self, name: str) -> str | None:
        """Another one when a file is written anew; None where it is not there."""
        found = self._told(name)
        return None if found is None else stamp_of(found)

    def names(self) -> list[str]:
        """The names in the folder."""
        found = self._call(lambda: self.system.ls(self.path, detail=False))
        return [str(entry).rstrip("/").rpartition("/")[2] for entry in found]

    def read(self, name: str) -> bytes:
        return bytes(self._call(lambda: self.system.cat_file(self._inside(name)), name))

    def write(self, name: str, data: bytes) -> None:
        """Write a file in the folder, which is there: the file is whole or as it was."""
        inside = self._inside(name)
        if self.is_local:
            _write_whole(Path(inside), data)
        else:
            self._call(lambda: self.system.pipe_file(inside, data), name)

    def make_folder(self, name: str = "") -> None:
        """Make the folder, or one in it, if it is not there; object stores need none."""
        if self.is_local:
            os.makedirs(self._inside(name), exist_ok=True)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine, or one that it mounts."""
        return isinstance(self.system, LocalFileSystem)

    def all_files(self) -> Iterator[tuple[str, bytes]]:
        """Every file below the folder: its name from there, and what is in it."""
        for path in sorted(self._call(lambda: self.system.find(self.path))):
            name = str(path)[len(self.path) :].lstrip("/")
            yield name, self.read(name)

    def upload(self, path: str, name: str) -> None:
        """Write a file with the bytes of a local one: on object stores it is whole or not there."""
        inside = self._inside(name)
        # s3fs holds twice as much of a file in memory
        parts = {"chunksize": PART_BYTES} if type(self.system).__name__ == "S3FileSystem" else {}

        def put() -> None:
            try:
                self.system.put_file(path, inside, **parts)
            except FileNotFoundError as error:
                if is_lacking_home(error):
                    raise
                self.system.makedirs(self.system._parent(inside), exist_ok=True)
                self.system.put_file(path, inside, **parts)

        self._call(put, name)

    def remove(self, name: str = "") -> None:
        """Remove a file or a folder with all in it, if it is there."""
        try:
            self._call(lambda: self.system.rm(self._inside(name), recursive=True), name)
        except FileNotFoundError:
            if self.exists(name):  # somebody else removed something in it, but not all
                raise

    def _told(self, name: str = "") -> Any:
        # `exists` of fsspec takes any failure of some file systems for an absence
        try:
            return self._call(lambda: self.system.info(self._inside(name)), name)
        except FileNotFoundError:
            return None

    def _inside(self, name: str) -> str:
        return f"{self.path}/{name}".rstrip("/")

    def _call(self, call: Callable[[], T], name: str = "") -> T:
        def fresh() -> T:
            self.system.invalidate_cache()
            return call()

        return patiently(fresh, f"{self.url}/{name}".rstrip("/"))


def stamp_of(told: Mapping[str, Any]) -> str:
    """Another one when a file is written anew, of what its file system tells; it may be empty."""
    for name in ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created"):
        if told.get(name):
            return str(told[name])
    return ""


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that takes its place as a whole, on the disk when this returns."""
    handle, made = mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)
        flush_entry(path.parent)
    finally:
        with suppress(FileNotFoundError):
            os.remove(made)


def flush_entry(path: Path) -> None:
    """Force a file, or the entries of a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no directories
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_files(url: str, storage_options: Mapping[str, Any] | None = None) -> Files:
    """The folder at a URL or local path; raises as `open_filesystem`."""
    system, path = open_filesystem(url, storage_options)
    return Files(url.rstrip("/"), system, path.rstrip("/"))
