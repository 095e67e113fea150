"""Which kind of store a path or URL names: by its ending, or by one look at it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from dask_em.errors import SourceError
from dask_em.remote.files import open_filesystem
from dask_em.remote.patience import patiently
from dask_em.remote.remedies import unreached
from dask_em.remote.secrets import unless_secret, without_secrets
from dask_em.sources.paths import PARQUET_ENDINGS, is_glob, is_url

__all__ = ["stored_kind"]

#: how names end
ENDINGS = {
    "parquet": PARQUET_ENDINGS,
    "netcdf": (".nc", ".nc4", ".cdf", ".netcdf", ".h5", ".hdf5"),
    "zarr": (".zarr", ".zip"),
}
#: how the bytes of files begin
BEGINNINGS = {"parquet": (b"PAR1",), "netcdf": (b"CDF", b"\x89HDF"), "zarr": (b"PK",)}
#: what lies at the top of a Zarr store
ZARR = frozenset({"zarr.json", ".zarray", ".zgroup", ".zmetadata"})
#: what may lie at the top of a Parquet dataset
PARQUET = frozenset({"_metadata", "_common_metadata"})


def stored_kind(
    url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
) -> str:
    """One of "parquet", "netcdf" and "zarr".

    Parameters
    ----------
    url : str or path
        A file, a folder or a glob. If its name does not tell, it is looked at.
    storage_options : mapping, optional
        What fsspec needs to open a URL.

    Raises
    ------
    SourceError
        If it is there, and is nothing of these; or it cannot be reached.
    """
    text = os.fspath(url)
    plain = text.partition("?")[0] if text.startswith("http") else text  # without a signature
    told = _by_ending([plain.rstrip("/").lower()])
    if told is not None:
        return told
    if ".zarr/" in text:
        return "zarr"
    try:
        files, path = open_filesystem(text, storage_options)
        return patiently(lambda: _seen(files, path, without_secrets(text)), text)
    except SourceError:
        raise
    except FileNotFoundError:
        return "zarr"  # whose error names the nearest folder that exists
    except Exception as error:  # of a file system, a network, or a protocol that is not known
        if not is_url(text):
            return "zarr"
        raise unreached(error, text) from unless_secret(error)


def _by_ending(names: Sequence[str]) -> str | None:
    for kind, endings in ENDINGS.items():
        if any(name.endswith(endings) for name in names):
            return kind
    return None


def _seen(files: Any, path: str, shown: str) -> str:
    files.invalidate_cache()  # others write as well
    if is_glob(path):
        return _of_names(files.glob(path), shown)
    entries = files.ls(path, detail=True)
    if len(entries) == 1 and entries[0]["type"] == "file" and _same(entries[0]["name"], path):
        return _of_beginning(files, path, shown)
    return _of_names([entry["name"] for entry in entries], shown)


def _of_names(names: Sequence[str], shown: str) -> str:
    tops = [posixpath.basename(name.rstrip("/")) for name in names]
    if ZARR.intersection(tops):
        return "zarr"
    # parts of a dataset may lie in folders such as year=2010
    if PARQUET.intersection(tops) or any("=" in top for top in tops):
        return "parquet"
    told = _by_ending([top.lower() for top in tops])
    if told in ("parquet", "netcdf"):
        return told
    some = ", ".join(sorted(tops)[:5]) or "nothing"
    raise SourceError(
        f"{shown} is neither a Zarr store, nor Parquet, nor NetCDF: it holds {some}; give the path "
        "of a store, of files that end with .parquet or .nc, or of a folder of such files"
    )


def _of_beginning(files: Any, path: str, shown: str) -> str:
    with files.open(path, "rb") as file:
        begin = file.read(4)
    for kind, beginnings in BEGINNINGS.items():
        if begin.startswith(beginnings):
            return kind
    raise SourceError(
        f"the file {shown} begins like no Parquet, NetCDF or zipped Zarr; check the path"
    )


def _same(one: str, other: str) -> bool:
    return one.strip("/") == other.strip("/")
