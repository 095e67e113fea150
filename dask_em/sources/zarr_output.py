"""Zarr stores that are written region by region: whole at the end, or not there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from dask_em.engine.source import Coordinate, Schema, Source
from dask_em.place import URL, Options, parse_place
from dask_em.sources.apart import check_outputs
from dask_em.sources.drafts import (
    MARK,
    UNFINISHED,
    Draft,
    explained,
    put_all,
)
from dask_em.sources.kept import open_draft
from dask_em.sources.layout import Layout
from dask_em.sources.zarr_writing import ZarrOutput, ZarrOutputs

if TYPE_CHECKING:
    from dask_em.engine.ledger import Ledger

__all__ = ["Planned", "create_outputs"]


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
