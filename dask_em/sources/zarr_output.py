"""Zarr stores that are written region by region: whole at the end, or not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore

from dask_em.core.records import Array
from dask_em.engine.source import Region, Source
from dask_em.errors import SourceError
from dask_em.place import URL, Options, parse_place
from dask_em.sources.apart import check_outputs
from dask_em.sources.drafts import MARK, UNFINISHED, Draft, drafted, explained, put_all, unwritten
from dask_em.sources.layout import Layout

__all__ = ["Planned", "ZarrOutput", "create_outputs"]


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
            raise unwritten(self.place, error) from error

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


@dataclass(frozen=True)
class Planned:
    """An output that is to be made: a Zarr 3 group with one array, which xarray opens.

    Parameters
    ----------
    url : str or path
        A local path, or any URL that fsspec opens.
    name : str
        Of the array in the group.
    dtype : dtype
        Of the array.
    columns : int or None
        Numbers for each row; None for one, without an axis of its own.
    dims : sequence of str, optional
        Names of the sample axes.
    attributes : mapping, optional
        What the array says about itself, in JSON.
    axis : str
        Name of the axis of columns.
    """

    url: URL
    name: str
    dtype: Any
    columns: int | None = None
    dims: Sequence[str] | None = None
    attributes: Mapping[str, Any] | None = None
    axis: str = "component"


@contextmanager
def create_outputs(
    planned: Sequence[Planned],
    source: Source,
    *,
    overwrite: bool = False,
    storage_options: Options = None,
) -> Iterator[tuple[ZarrOutput, ...]]:
    """Outputs for the rows of a source, for as long as they are written.

    When the context ends all are at their places; when it raises none is, and what was there
    before is unchanged (a URL with `overwrite` excepted: there the old goes first).

    Parameters
    ----------
    planned : sequence of Planned
        What is to be made.
    source : Source
        Whose rows are answered; its sample chunks become those of the arrays.
    overwrite : bool
        Whether an output that is there already is replaced. Nothing else is ever replaced.
    storage_options : mapping, optional
        For fsspec.

    Raises
    ------
    InputError
        If outputs lie in each other, or in what is read.
    SourceError
        If a place is taken or cannot be written.
    SchemaError
        If the source's chunks have no known or no regular lengths.
    """
    # refused before anything is made
    layouts = [Layout.of(source.schema, one.columns, one.dims, one.axis) for one in planned]
    check_outputs([one.url for one in planned], overwrite, storage_options, source)
    with ExitStack() as stack:
        drafts, outputs = [], []
        for one, layout in zip(planned, layouts, strict=True):
            place = parse_place(one.url, storage_options)
            with explained(place):
                draft = stack.enter_context(drafted(place, overwrite))
                _create_array(draft, one, layout)
            drafts.append(draft)
            outputs.append(ZarrOutput(draft.store, one.name, str(place)))
        yield tuple(outputs)
        put_all(drafts)


def _create_array(draft: Draft, planned: Planned, layout: Layout) -> None:
    dtype = np.dtype(planned.dtype)
    root = zarr.create_group(draft.store, attributes={MARK: UNFINISHED})
    root.create_array(
        planned.name,
        shape=layout.shape,
        chunks=layout.chunks,
        dtype=dtype,
        fill_value=_absent(dtype),
        dimension_names=layout.dims,
        attributes=dict(planned.attributes or {}),
    )


def _absent(dtype: np.dtype) -> Any:
    return np.nan if dtype.kind == "f" else -1 if dtype.kind == "i" else 0
