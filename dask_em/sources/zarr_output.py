"""Zarr stores that are written region by region: whole at the end, or not there."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore

from dask_em.core.records import Array
from dask_em.engine.source import Region, Schema
from dask_em.errors import SchemaError, SourceError
from dask_em.place import URL, LocalPlace, Options, Place, parse_place

__all__ = ["ZarrOutput", "check_output", "create_output"]

#: the attribute of the group that tells an output of dask_em, and what it says
MARK, UNFINISHED, WHOLE = "dask_em", "unfinished output", "output"
#: seconds that a chunk takes to be written, generously
GRACE = 0.5
#: a chunk of the output may be this much shorter than the longest chunk that is read
FINEST = 8


@dataclass(frozen=True)
class ZarrOutput:
    """An array of the samples' shape; small and picklable, opened where it is written.

    Parameters
    ----------
    store : Store
        Of the group, as it is while it is written.
    name : str
        The array in the group.
    place : str
        Where the group will be, for error messages.
    """

    store: Store
    name: str
    place: str

    def write(self, region: Region, values: Array) -> None:
        """Write one region; regions of different tasks share no chunk.

        Raises
        ------
        SourceError
            If the store cannot be reached from this machine, or not be written.
        """
        try:
            self._check_there()
            self._array[region] = values.astype(self._array.dtype, copy=False)
        except SourceError:
            raise
        except Exception as error:  # a file system, a network or a codec may raise anything here
            raise _unwritten(self.place, error) from error

    @cached_property
    def _array(self) -> Any:
        return zarr.open_array(self.store, path=self.name, mode="r+")

    def _check_there(self) -> None:
        # a worker on another machine, or after the writing was given up, must not make folders
        if isinstance(self.store, LocalStore) and not Path(self.store.root, "zarr.json").exists():
            raise SourceError(
                f"the output {self.place} is not there on a worker: either the writing was given "
                "up, or the worker does not mount the folder; write to one that all workers mount"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_array"}


@contextmanager
def create_output(
    url: URL,
    schema: Schema,
    columns: int | None,
    dtype: Any,
    *,
    name: str,
    dims: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    storage_options: Options = None,
) -> Iterator[ZarrOutput]:
    """A Zarr 3 group with one array, for as long as it is written.

    When the context ends the group is at its place; when it raises nothing is, and what was
    there before is unchanged (a URL with `overwrite` excepted: there the old goes first).
    xarray opens the group.

    Parameters
    ----------
    url : str or path
        A local path, or any URL that fsspec opens.
    schema : Schema
        Of the source whose rows are answered; its sample chunks become the array's.
    columns : int or None
        Numbers for each row; None for one, without an axis of its own.
    dtype : dtype
        Of the array.
    name : str
        Of the array in the group.
    dims : sequence of str, optional
        Names of the sample axes.
    attributes : mapping, optional
        What the array says about itself, in JSON.
    overwrite : bool
        Whether an output that is there already is replaced. Nothing else is ever replaced.
    storage_options : mapping, optional
        For fsspec.

    Raises
    ------
    SourceError
        If the place is taken or cannot be written.
    SchemaError
        If the source's chunks have no known or no regular lengths.
    """
    chunks = _chunks(schema)  # refused before anything is made
    shape = tuple(schema.sample_shape or ())
    names = tuple(dims) if dims is not None else _axis_names(len(shape))
    if columns is not None:
        shape, chunks, names = (*shape, columns), (*chunks, max(1, columns)), (*names, "component")
    check_output(url, overwrite, storage_options)
    place, dtype = parse_place(url, storage_options), np.dtype(dtype)
    with ExitStack() as stack:
        with _explained(place):
            store = stack.enter_context(_draft(place, overwrite))
            root = zarr.create_group(store, attributes={MARK: UNFINISHED})
            root.create_array(
                name,
                shape=shape,
                chunks=chunks,
                dtype=dtype,
                fill_value=_absent(dtype),
                dimension_names=names,
                attributes=dict(attributes or {}),
            )
        yield ZarrOutput(store, name, str(place))
        with _explained(place):
            _complete(root)
            stack.close()


def check_output(url: URL, overwrite: bool = False, storage_options: Options = None) -> None:
    """Raise now what `create_output` would raise because its place is taken.

    Raises
    ------
    SourceError
        If something is at the place, unless it is an output of dask_em and `overwrite` is set.
    """
    place = parse_place(url, storage_options)
    try:
        taken = place.exists()
    except Exception as error:  # of a file system or a network
        raise SourceError(
            f"{place} cannot be reached ({type(error).__name__}: {error}); check the address and "
            "your access to it"
        ) from error
    if not taken:
        return
    if not overwrite:
        raise SourceError(
            f"{place} exists; pass overwrite=True (--overwrite) to replace it, or choose another "
            "path"
        )
    if not _is_output(place):
        raise SourceError(
            f"{place} exists and was not written by dask_em as an output, so it is not "
            "overwritten; remove it yourself or choose another path"
        )


def _is_output(place: Place) -> bool:
    try:
        mark = zarr.open_group(place.store(), mode="r", zarr_format=3).attrs.get(MARK)
    except Exception:  # whatever it is, it is not ours
        return False
    return mark in (UNFINISHED, WHOLE)


def _chunks(schema: Schema) -> tuple[int, ...]:
    """The lengths of the output's chunks: no region that is written shares one with another."""
    if schema.sample_chunks is None or schema.sample_shape is None:
        raise SchemaError(
            f"the chunks of {schema.describe} have no known lengths, so answers cannot be laid "
            "out; call compute_chunk_sizes() on the array first"
        )
    return tuple(
        _chunk(lengths, axis, schema.describe) for axis, lengths in enumerate(schema.sample_chunks)
    )


def _chunk(lengths: Sequence[int], axis: int, describe: str) -> int:
    # all boundaries are multiples of the greatest common divisor; where the last ends is no matter
    longest = max((1, *lengths))
    common = gcd(*lengths[:-1]) or longest
    if common * FINEST < longest:
        raise SchemaError(
            f"the chunks of {describe} along axis {axis} have lengths {_some(lengths)}, which no "
            f"regular chunks of at least {-(-longest // FINEST)} fit; rechunk the array to equal "
            f"lengths first, e.g. x.rechunk({{{axis}: {longest}}})"
        )
    return common


def _some(lengths: Sequence[int], limit: int = 6) -> str:
    text = ", ".join(str(length) for length in lengths[:limit])
    return text if len(lengths) <= limit else f"{text}, ... ({len(lengths)} in all)"


def _axis_names(n: int) -> tuple[str, ...]:
    # xarray opens nothing without names
    return ("row",) if n == 1 else tuple(f"axis_{axis}" for axis in range(n))


def _absent(dtype: np.dtype) -> Any:
    return np.nan if dtype.kind == "f" else -1 if dtype.kind == "i" else 0


def _complete(root: zarr.Group) -> None:
    root.attrs[MARK] = WHOLE
    with warnings.catch_warnings():
        # in format 3 it is a convention, and the one by which xarray opens a store quickly
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(root.store)


@contextmanager
def _draft(place: Place, overwrite: bool) -> Iterator[Store]:
    if isinstance(place, LocalPlace):
        with place.draft(overwrite) as draft:
            try:
                yield draft.store
            except BaseException:
                _give_up(draft.store)
                raise
        return
    # elsewhere nothing can be renamed; the mark says that the store is not whole
    files, path = fsspec.url_to_fs(str(place), **dict(getattr(place, "options", {})))
    if overwrite and files.exists(path):
        files.rm(path, recursive=True)
    try:
        yield place.store()
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            files.rm(path, recursive=True)
        raise


def _give_up(store: Store) -> None:
    """Let tasks that still run come to an end, so that none writes while the draft is removed."""
    assert isinstance(store, LocalStore)
    with suppress(OSError):
        Path(store.root, "zarr.json").unlink()  # they look for it before they write
    time.sleep(GRACE)


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _unwritten(str(place), error) from error


def _unwritten(place: str, error: Exception) -> SourceError:
    cause = error.strerror if isinstance(error, OSError) and error.strerror else error
    return SourceError(
        f"the output {place} cannot be written ({type(error).__name__}: {cause}); free some "
        "space, check permissions or choose another path; nothing half-written is left there"
    )
