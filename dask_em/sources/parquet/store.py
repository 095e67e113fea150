"""Where Parquet files are: a file system of pyarrow, or one behind a URL, asked patiently."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import fsspec
import pyarrow as pa
from pyarrow import fs as arrow_fs

from dask_em.place import address_of
from dask_em.remote.files import open_filesystem
from dask_em.remote.patience import patiently
from dask_em.remote.secrets import without_secrets

__all__ = ["FileStore"]


@final
@dataclass(frozen=True)
class FileStore:
    """Opens files to read. It pickles as what it was made from.

    Parameters
    ----------
    url : str, or None
        One in the file system, which is opened anew where it is used; None for the local one.
    options : mapping
        What fsspec needs.
    given : pyarrow file system, or None
        That of a pyarrow dataset.
    """

    url: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    given: Any = None

    @property
    def files(self) -> Any:
        """The file system of fsspec, or the one that was given."""
        if self.url is not None:
            return open_filesystem(self.url, self.options)[0]
        if isinstance(self.given, arrow_fs.PyFileSystem):
            return getattr(self.given.handler, "fs", self.given)
        local = self.given is None or isinstance(self.given, arrow_fs.LocalFileSystem)
        return fsspec.filesystem("file") if local else self.given

    @property
    def is_remote(self) -> bool:
        """Whether each request waits for an answer."""
        return self.url is not None and not self.in_this_process

    @property
    def in_this_process(self) -> bool:
        """Whether no other process can read it."""
        told: Any = getattr(self.files, "protocol", ())
        return "memory" in ((told,) if isinstance(told, str) else told)

    def address(self, path: str) -> tuple[str, ...]:
        """The address of a path; reaches for nothing."""
        files = self.files
        if not hasattr(files, "protocol"):  # one of pyarrow's own
            return (files.type_name, *(name for name in path.split("/") if name))
        return address_of(files, path)

    def shown(self, path: str) -> str:
        """A path as it may be told: with its protocol, and without secrets."""
        return without_secrets(path if self.url is None else self.files.unstrip_protocol(path))

    def open(self, path: str, size: int | None = None) -> pa.NativeFile:
        """Open a file to read.

        Parameters
        ----------
        path : str
        size : int, optional
            Its bytes, so that a store is not asked for them.
        """
        if self.url is None:
            files = arrow_fs.LocalFileSystem() if self.given is None else self.given
            return files.open_input_file(path)
        files, url = self.files, self.files.unstrip_protocol(path)
        if size is None:
            size = patiently(lambda: int(files.info(path)["size"]), url)
        return pa.PythonFile(_Ranges(files, path, url, size), mode="r")


@final
class _Ranges(io.RawIOBase):
    """A file that is read range by range, each with patience."""

    def __init__(self, files: Any, path: str, url: str, size: int) -> None:
        super().__init__()
        self._files, self._path, self._url, self._size = files, path, url, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = begin + offset
        return self._at

    def read(self, n: int = -1) -> bytes:
        start = self._at
        stop = self._size if n < 0 else min(start + n, self._size)
        if stop <= start:
            return b""
        found = patiently(
            partial(self._files.cat_file, self._path, start=start, end=stop), self._url
        )
        if len(found) == self._size and start:
            raise OSError(f"asked for bytes {start} to {stop} it sends all; download the file")
        if len(found) != stop - start:
            raise OSError(f"bytes {start} to {stop} are not there: it was written to meanwhile")
        self._at = stop
        return bytes(found)
