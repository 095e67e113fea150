"""Tiling: which rows are read at a time, whatever the chunks that they are stored in."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

from dask_em.errors import SchemaError
from dask_em.sources.columns import Column, dimensions
from dask_em.sources.grid import Grid

__all__ = ["Tiling"]

#: small chunks are read together until they hold about this many bytes of rows
TARGET_BYTES = 16 * 2**20
#: arrays of a group in different chunks are read in common multiples up to this many bytes
JOINED_BYTES = 8 * TARGET_BYTES
#: rows of more bytes than that, which many chunks hold side by side, are read in parts of these
PART_BYTES = 4 * TARGET_BYTES
#: chunks, stored and decoded, that allocators keep for the threads that decode one after the other
#: (measured 300 MB for chunks of 20 MB, beside two blocks)
KEPT_CHUNKS = 8
#: chunks that are decoded so often in a pass are worth a warning
REPEATED = 2


@dataclass(frozen=True)
class Tiling:
    """Cells of rows that are read at a time.

    Parameters
    ----------
    grid : Grid
        The cells.
    stored : Grid
        Smaller ones, before neighbours were joined; where a chunk is read in parts, these parts.
    decoding_bytes : int
        Bytes that reading a cell takes beside its rows.
    """

    grid: Grid
    stored: Grid
    decoding_bytes: int

    @classmethod
    def of(
        cls,
        columns: Sequence[Column],
        stores: Sequence[Column],
        row_bytes: int,
        limit_bytes: int,
        where: str,
    ) -> Self:
        """The tiling of a store.

        Parameters
        ----------
        columns : sequence of Column
            What makes up the rows.
        stores : sequence of Column
            These and, where it is stored, the weight.
        row_bytes : int
            Of a row of all columns and its weight.
        limit_bytes : int
            The most bytes of rows that one chunk may hold.
        where : str
            The store, in words.

        Raises
        ------
        SchemaError
            If one chunk holds more.
        """
        whole = _joined(stores, row_bytes)
        _check_size(whole, row_bytes, limit_bytes, columns, where)
        stored = _cut(whole, row_bytes, columns)
        grid = stored.coarsen(row_bytes, min(TARGET_BYTES, limit_bytes))
        straddling = [column for column in stores if _decodings(column, grid) > 1]
        held = [_chunk_bytes(column) for column in straddling]
        if stored is whole:
            _warn_of_straddling(straddling, columns[0], grid, where)
            return cls(grid, stored, sum(held))
        _warn_of_parts(whole, grid, row_bytes, columns, where)
        # the chunks of all columns are decoded one after the other
        return cls(grid, stored, KEPT_CHUNKS * max(held, default=0))


def _joined(columns: Sequence[Column], row_bytes: int) -> Grid:
    first, *others = [column.axes.sample_part(column.array.chunks) for column in columns]
    grid = Grid(columns[0].axes.sample_shape, tuple(max(1, length) for length in first))
    for other in others:
        # a chunk that straddles cells is decoded for each of them
        joined = grid.joined_with(other)
        if prod(joined.largest) * row_bytes <= JOINED_BYTES:
            grid = joined
    return grid


def _decodings(column: Column, grid: Grid) -> float:
    """How often each stored chunk is decoded in a pass: once for every cell that it touches."""
    mine = column.axes.sample_part(column.array.chunks)
    offsets = column.axes.sample_part(column.offsets)
    return prod(
        1.0
        if count <= 1 or (cell % own == 0 and not offset)
        else own / cell + bool(own % cell or offset)
        for own, offset, cell, count in zip(mine, offsets, grid.largest, grid.counts, strict=True)
    )


def _chunk_bytes(column: Column) -> int:
    return int(prod(column.array.chunks) * column.array.dtype.itemsize)


def _warn_of_straddling(
    straddling: Sequence[Column], first: Column, grid: Grid, where: str
) -> None:
    often = [column for column in straddling if _decodings(column, grid) >= REPEATED]
    if often:
        worst = max(often, key=lambda column: _decodings(column, grid))
        own, cells = worst.axes.sample_part(worst.array.chunks), grid.largest
        if any(worst.axes.sample_part(worst.offsets)):
            warnings.warn(
                f"{where} is a selection that begins inside chunks of {own} rows of array "
                f"{worst.label}, so each is decoded about {_decodings(worst, grid):.0f} times a "
                "pass; begin it at a multiple of these lengths if a pass takes long",
                UserWarning,
                stacklevel=4,
            )
            return
        warnings.warn(
            f"array {worst.label} of {where} has chunks of {own} rows where {first.label} is read "
            f"{cells} at a time, so each is decoded about {_decodings(worst, grid):.0f} times a "
            f"pass; store both in the same chunks, e.g. {_rechunk([worst], cells, where)}",
            UserWarning,
            stacklevel=4,
        )


def _cut(grid: Grid, row_bytes: int, columns: Sequence[Column]) -> Grid:
    """Cells that are read in parts where long chunks hold few of the features each.

    Arrays that are one chunk across are read as a whole, side by side: each is decoded once, where
    parts of its rows would be decoded several times.
    """
    size = prod(grid.largest) * row_bytes
    # parts of a chunk that holds all features save no memory
    holds_all = 2 * max(map(_chunk_bytes, columns)) > size
    if size <= JOINED_BYTES or holds_all or not any(map(_is_divided, columns)):
        return grid
    return grid.shrink(row_bytes, PART_BYTES)


def _is_divided(column: Column) -> bool:
    """Whether chunks hold some of an array's features each."""
    array = column.array
    return any(array.chunks[axis] < array.shape[axis] for axis in column.axes.feature_axes)


def _warn_of_parts(
    whole: Grid, parts: Grid, row_bytes: int, columns: Sequence[Column], where: str
) -> None:
    size, worst = prod(whole.largest) * row_bytes, max(columns, key=_chunk_bytes)
    often, chunks = _decodings(worst, parts), whole.shrink(row_bytes, TARGET_BYTES).largest
    warnings.warn(
        f"chunks of {where} hold {worst.axes.sample_part(worst.array.chunks)} rows and few of "
        f"their features; all features of these rows take {size / 2**20:,.0f} MiB, so "
        f"{parts.largest} rows are read at a time, and each chunk is decoded {often:.0f} times "
        f"a pass; store fewer rows in a chunk, e.g. {_rechunk(columns, chunks, where)}",
        UserWarning,
        stacklevel=4,
    )


def _check_size(
    grid: Grid, row_bytes: int, limit_bytes: int, columns: Sequence[Column], where: str
) -> None:
    size = prod(grid.largest) * row_bytes
    if size <= limit_bytes:
        return
    chunks = grid.shrink(row_bytes, min(TARGET_BYTES, limit_bytes)).largest
    raise SchemaError(
        f"one chunk of {where} holds {size / 2**20:,.0f} MiB of rows, the limit is "
        f"{limit_bytes / 2**20:,.0f} MiB; rechunk it first: {_rechunk(columns, chunks, where)}"
    )


def _rechunk(columns: Sequence[Column], chunks: tuple[int, ...], where: str) -> str:
    first = columns[0]
    dims = first.dims or dimensions(first.array)
    if not first.name or dims is None:
        stored = first.axes.stored_chunks(chunks)
        return (
            f'zarr.from_array("rechunked.zarr", data=zarr.open_array("{where}", '
            f'path="{first.name}"), chunks={stored})'
        ).replace(', path=""', "")
    wanted = dict(zip(first.axes.sample_part(dims), chunks, strict=True))
    return f'xarray.open_zarr("{where}").drop_encoding().chunk({wanted}).to_zarr("rechunked.zarr")'
