"""Which files a Parquet dataset consists of, found by one listing."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds

from dask_em.errors import SchemaError, SourceError
from dask_em.place import Options, address_of
from dask_em.remote.files import open_filesystem, stamp_of
from dask_em.remote.patience import patiently
from dask_em.remote.remedies import unreached
from dask_em.remote.secrets import unless_secret, without_secrets
from dask_em.remote.trouble import is_lacking_home
from dask_em.sources.parquet.store import FileStore
from dask_em.sources.paths import PARQUET_ENDINGS, is_glob, is_url

__all__ = ["Dataset", "File", "find_files"]

#: how hive writes a partition without a value
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"

PartitionValue: TypeAlias = int | float | str | None


@dataclass(frozen=True)
class File:
    """A file of a dataset; small and picklable."""

    path: str  # in the dataset's store
    name: str  # relative to the dataset's root, for what is written beside it
    size: int | None = None  # bytes
    stamp: str = ""  # another one when it is written to
    values: tuple[tuple[str, PartitionValue], ...] = ()  # of the partition that it lies in


@dataclass(frozen=True)
class Dataset:
    """Files, and where they lie."""

    files: tuple[File, ...]
    store: FileStore
    where: str  # for error messages
    roots: tuple[str, ...]  # the folder, or the files that were named
    again: Any = field(repr=False)  # what finds the same files again
    options: Options = field(default=None, repr=False)

    def relisted(self) -> Dataset:
        """As it is now."""
        return find_files(self.again, self.options)

    @property
    def addresses(self) -> set[tuple[str, ...]]:
        """Of all that is read."""
        return {self.store.address(root) for root in self.roots}

    def partition_schema(self) -> pa.Schema:
        """Of the columns that stand in the names of folders."""
        names = {name: None for file in self.files for name, _ in file.values}
        return pa.schema([(name, self._kind(name)) for name in names])

    def _kind(self, name: str) -> pa.DataType:
        values = {dict(file.values).get(name) for file in self.files} - {None}
        if all(isinstance(value, int) for value in values):
            return pa.int64()
        numbers = all(isinstance(value, int | float) for value in values)
        return pa.float64() if numbers else pa.string()


def find_files(data: Any, storage_options: Options = None) -> Dataset:
    """The files of a path, a folder, a glob, a list of them, or a pyarrow dataset.

    Raises
    ------
    SourceError
        If there is none.
    SchemaError
        If a pyarrow dataset is no Parquet in files.
    """
    if isinstance(data, ds.Dataset):
        return _of_arrow(data)
    if isinstance(data, str | os.PathLike):
        return _found(os.fspath(data), data, storage_options)
    parts = [_found(os.fspath(one), one, storage_options) for one in data]
    files = [file for part in parts for file in part.files]
    if len({file.path for file in files}) < len(files):
        raise SourceError("a Parquet file is given twice; give each once")
    apart = [part.where for part in parts if part.store.files != parts[0].store.files]
    if apart:
        raise SourceError(
            f"{parts[0].where} and {apart[0]} lie in different stores; the files of one dataset "
            "lie in one"
        )
    base = posixpath.commonpath([posixpath.dirname(file.path) for file in files])
    files = [replace(file, name=posixpath.relpath(file.path, base)) for file in files]
    roots = tuple(root for part in parts for root in part.roots)
    where = parts[0].where if len(parts) == 1 else f"{parts[0].where} and {len(parts) - 1} more"
    return Dataset(_typed(files), parts[0].store, where, roots, list(data), storage_options)


def _found(text: str, given: Any, storage_options: Options) -> Dataset:
    if not is_url(text):
        text = str(Path(text).expanduser().absolute())
    shown = without_secrets(text)
    with _reached(shown):
        files, path = open_filesystem(text, storage_options)

        def listed() -> tuple[str, dict[str, Any]]:
            files.invalidate_cache()
            return _listing(files, path)

        base, entries = patiently(listed, text)
    if not entries:
        raise SourceError(
            f"there is no Parquet file at {shown}; files that end with "
            f"{', '.join(PARQUET_ENDINGS)} are read, and those whose name begins with _ or . are "
            "not. Check the path, and that this machine mounts the store"
        )
    found = [
        File(name, posixpath.relpath(name, base), told.get("size"), stamp_of(told))
        for name, told in sorted(entries.items())
    ]
    roots = tuple(file.path for file in found) if is_glob(path) else (path,)
    local = address_of(files, path)[0] == "file"  # then pyarrow reads without Python
    store = FileStore() if local else FileStore(text, dict(storage_options or {}))
    return Dataset(_typed(found), store, shown, roots, given, storage_options)


def _listing(files: Any, path: str) -> tuple[str, dict[str, Any]]:
    """The folder that names are relative to, and what is told of each file."""
    if is_glob(path):
        found = files.glob(path, detail=True)
        entries = {
            name: told
            for one, about in found.items()
            for name, told in (
                {one: about} if about["type"] == "file" else _below(files, one)
            ).items()
        }
        folders = [posixpath.dirname(name) for name in entries]
        return (posixpath.commonpath(folders) if folders else path), entries
    try:
        told = files.info(path)  # `isfile` takes any failure for an absence
    except FileNotFoundError as error:
        if is_lacking_home(error):
            raise
        return path, {}
    if told["type"] == "file":
        return posixpath.dirname(path), {path: told}
    return path.rstrip("/"), _below(files, path)


def _below(files: Any, folder: str) -> dict[str, Any]:
    base = folder.rstrip("/")
    return {
        name: told
        for name, told in files.find(base, detail=True).items()
        if name.endswith(PARQUET_ENDINGS) and not _hidden(posixpath.relpath(name, base))
    }


def _hidden(name: str) -> bool:
    # a folder such as _year=2010 is a partition
    return any(part[:1] in ("_", ".") and "=" not in part for part in name.split("/"))


def _of_arrow(data: ds.Dataset) -> Dataset:
    files = getattr(data, "files", None)
    if files is None or not isinstance(data.format, ds.ParquetFileFormat):
        raise SchemaError(
            f"a pyarrow {type(data).__name__} is no Parquet in files; give a dataset of Parquet "
            "files, or their paths"
        )
    if getattr(data, "_scan_options", None):
        raise SchemaError("the pyarrow dataset carries a filter; give the dataset and where=")
    fragments = list(data.get_fragments())
    base = posixpath.commonpath([posixpath.dirname(one.path) for one in fragments])
    found = []
    for one in fragments:
        told = data.filesystem.get_file_info(one.path)
        values = tuple(ds.get_partition_keys(one.partition_expression).items())
        name = posixpath.relpath(one.path, base)
        found.append(File(one.path, name, told.size, str(told.mtime_ns), values))
    where = f"the pyarrow dataset {base}"
    roots = tuple(file.path for file in found)
    return Dataset(tuple(found), FileStore(given=data.filesystem), where, roots, data)


def _typed(files: Sequence[File]) -> tuple[File, ...]:
    """Files with the values that stand in the names of their folders."""
    texts = [dict(_texts(file.path)) for file in files]
    names = {name for one in texts for name in one}
    kinds = {name: _number_of([one.get(name) for one in texts]) for name in names}
    return tuple(
        replace(file, values=tuple((name, kinds[name](text)) for name, text in one.items()))
        for file, one in zip(files, texts, strict=True)
    )


def _texts(path: str) -> Iterator[tuple[str, str | None]]:
    for folder in posixpath.dirname(path).split("/"):
        name, sign, value = folder.partition("=")
        if name and sign:
            yield name, None if value == NO_VALUE else unquote(value)


def _number_of(texts: Sequence[str | None]) -> Any:
    """What makes values of texts: integers or floats, if all are, or themselves."""
    for kind in (int, float):
        try:
            for text in texts:
                _ = None if text is None else kind(text)
        except ValueError:
            continue
        return lambda text, kind=kind: None if text is None else kind(text)
    return lambda text: text


@contextmanager
def _reached(where: str) -> Iterator[None]:
    try:
        yield
    except SourceError:  # it says what to do
        raise
    except Exception as error:  # of a file system, a network, or a protocol that is not known
        raise unreached(error, where) from unless_secret(error)
