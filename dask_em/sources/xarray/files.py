"""Files that xarray opens, such as NetCDF, by path or URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import xarray as xr

from dask_em.errors import SourceError
from dask_em.remote.files import own_filesystem
from dask_em.remote.remedies import refused
from dask_em.remote.secrets import unless_secret, without_secrets
from dask_em.remote.trouble import cause_of
from dask_em.sources.paths import is_url

__all__ = ["open_dataset"]


def open_dataset(
    path: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> xr.Dataset:
    """What `xarray.open_dataset` makes of a file, read lazily and by no dask.

    Parameters
    ----------
    path : str, path or URL
    storage_options : mapping, optional
        What fsspec needs to open a URL, whose file is read through it.
    **options
        For `xarray.open_dataset`.

    Raises
    ------
    SourceError
        If the file does not exist or cannot be read.
    """
    shown = without_secrets(str(os.fspath(path)))
    try:
        opened: Any = path
        if isinstance(path, str) and is_url(path):
            files, name = own_filesystem(path, storage_options)
            opened = files.open(name)
        return xr.open_dataset(opened, chunks=None, **options)
    except (MemoryError, SourceError):
        raise
    except FileNotFoundError as error:
        told = SourceError(f"there is no file {shown}; check the path")
        raise told from unless_secret(error)
    except Exception as error:
        # an engine, a file system or a codec may raise anything here
        cause = without_secrets(cause_of(error), storage_options)
        told = refused(error, str(path)) or SourceError(
            f"{shown} cannot be opened by xarray ({cause}); check that the file is "
            "whole, and that the package of its format is installed (netCDF4, h5netcdf or scipy "
            "for NetCDF)"
        )
        raise told from unless_secret(error)
