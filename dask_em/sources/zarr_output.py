"""Zarr stores that are written region by region: whole at the end, or not there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore

from dask_em.core.records import Array
from dask_em.engine.ahead import behind
from dask_em.engine.readable import Readable
from dask_em.engine.source import Coordinate, Region, Schema, Source
from dask_em.engine.writing import Output, Writer
from dask_em.errors import SourceError
from dask_em.place import URL, Options, parse_place
from dask_em.remote.store import PatientStore
from dask_em.sources.apart import check_outputs
from dask_em.sources.drafts import (
    MARK,
    UNFINISHED,
    Draft,
    explained,
    not_there,
    put_all,
    unwritten,
)
from dask_em.sources.kept import open_draft
from dask_em.sources.layout import Layout

if TYPE_CHECKING:
    from dask_em.engine.ledger import Ledger

__all__ = ["Planned", "ZarrOutput", "ZarrOutputs", "create_outputs"]


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
    kept : bool
        Whether what is written is kept if the work is broken off.
    """

    store: Store
    name: str
    place: str
    kept: bool = False

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
            raise unwritten(self.place, error, self.kept) from error

    @cached_property
    def _array(self) -> Any:
        return zarr.open_array(self.store, path=self.name, mode="r+", zarr_format=3)

    def _check_there(self) -> None:
        if isinstance(self.store, LocalStore) and not Path(self.store.root, "zarr.json").exists():
            raise not_there(self.place)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_array"}


@dataclass(frozen=True)
class ZarrOutputs(Output):
    """An array for the answers to each query."""

    arrays: tuple[ZarrOutput, ...]

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        if not any(isinstance(array.store, PatientStore) for array in self.arrays):
            yield self._write
            return
        with behind() as make:

            def write(found: Readable, answers: tuple[Array, ...]) -> None:
                assert found.region is not None  # else there was no layout
                for array, values in zip(self.arrays, answers, strict=True):
                    # not what was found: its rows would wait with the answers
                    make(partial(array.write, found.region, values), values.nbytes)

            yield write

    def _write(self, found: Readable, answers: tuple[Array, ...]) -> None:
        assert found.region is not None  # else there was no layout
        for array, values in zip(self.arrays, answers, strict=True):
            array.write(found.region, values)


@dataclass(frozen=True)
class Planned:
    """An array that is to be made, in a Zarr 3 group that xarray opens.

    Parameters
    ----------
    url : str or path
        Of the group: a local path, or any URL that fsspec opens.
    name : str
        Of the array in the group.
    dtype : dtype
        Of the array.
    trailing : tuple of int
        Lengths of the axes behind those of the samples.
    axes : tuple of str
        Their names.
    attributes : mapping
        What the array says about itself, in JSON.
    """

    url: URL
    name: str
    dtype: Any
    trailing: tuple[int, ...] = ()
    axes: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def create_outputs(
    planned: Sequence[Planned],
    source: Source,
    *,
    overwrite: bool = False,
    storage_options: Options = None,
    ledger: Ledger | None = None,
) -> Iterator[ZarrOutputs]:
    """Arrays for the rows of a source, for as long as they are written.

    Arrays of one URL share a group. Beside them lie the coordinates of the source.

    When the context ends all are at their places; when it raises none is, and what was there
    before is unchanged (a URL with `overwrite` excepted: there the old goes first). With a ledger,
    what is written by then is kept apart, and found again.

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
    ledger : Ledger, optional
        Of these answers.

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
    layouts = [Layout.of(source.schema, one.trailing, one.axes) for one in planned]
    urls = list(dict.fromkeys(one.url for one in planned))
    check_outputs(urls, overwrite, storage_options, source, ledger)
    if ledger is not None:
        ledger.mark()
    names = {one.name for one in planned}  # which come first
    coordinates = {name: one for name, one in _listable(source.coordinates()) if name not in names}
    with ExitStack() as stack:
        drafts = {}
        for url in urls:
            place = parse_place(url, storage_options)
            with explained(place, ledger is not None):
                drafts[url] = stack.enter_context(open_draft(place, overwrite, ledger=ledger))
                if drafts[url].made:
                    continue
                here = [pair for pair in zip(planned, layouts, strict=True) if pair[0].url == url]
                labels = (_labels(layout, one, source.origin.schema) for one, layout in here)
                root = _create_group(drafts[url], {**coordinates, **dict(chain(*labels))})
                for one, layout in here:
                    _create_array(root, one, layout, coordinates)
                drafts[url].begun()
        yield ZarrOutputs(tuple(_output(one, drafts[one.url]) for one in planned))
        put_all(list(drafts.values()), ledger)


def _output(planned: Planned, draft: Draft) -> ZarrOutput:
    return ZarrOutput(draft.store, planned.name, str(draft.place), draft.kept)


def _listable(found: Mapping[str, Coordinate]) -> Iterator[tuple[str, Coordinate]]:
    """The coordinates that can be told from data: their names stand in a list with spaces."""
    for name, coordinate in found.items():
        if " " not in name or coordinate.dims == (name,):
            yield name, coordinate
            continue
        warnings.warn(
            f"the coordinate {name!r} has a space in its name and is not written beside the "
            "answers; rename it, e.g. with underscores",
            UserWarning,
            stacklevel=2,
        )


def _labels(layout: Layout, planned: Planned, schema: Schema) -> Iterator[tuple[str, Coordinate]]:
    """Coordinates of the axes behind those of the samples: names of features, else numbers."""
    named = layout.dims[len(layout.dims) - len(planned.axes) :]
    for axis, name, length in zip(planned.axes, named, planned.trailing, strict=True):
        known = schema.feature_names if axis == "feature" else None
        values = np.arange(length) if known is None else np.array(known, dtype=np.str_)
        yield name, Coordinate((name,), values, {})


def _create_group(draft: Draft, coordinates: Mapping[str, Coordinate]) -> zarr.Group:
    root = zarr.create_group(draft.store, zarr_format=3, attributes={MARK: UNFINISHED})
    for name, coordinate in coordinates.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # text is not in the specification of format 3 yet
            root.create_array(
                name,
                data=coordinate.values,
                dimension_names=coordinate.dims,
                attributes=dict(coordinate.attributes),
            )
    return root


def _create_array(
    root: zarr.Group, planned: Planned, layout: Layout, coordinates: Mapping[str, Coordinate]
) -> None:
    dtype = np.dtype(planned.dtype)
    # one called like an axis is known by that (CF conventions 1.11, section 5)
    others = [name for name in coordinates if name not in layout.dims]
    root.create_array(
        planned.name,
        shape=layout.shape,
        chunks=layout.chunks,
        dtype=dtype,
        fill_value=_absent(dtype),
        dimension_names=layout.dims,
        attributes={**planned.attributes, **({"coordinates": " ".join(others)} if others else {})},
    )


def _absent(dtype: np.dtype) -> Any:
    return np.nan if dtype.kind == "f" else -1 if dtype.kind == "i" else 0
