"""Reading columns side by side, and naming what cannot be read, whatever the columns are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from math import prod
from typing import Any, TypeAlias

import numpy as np

from dask_em.core.records import Array
from dask_em.engine.ahead import MOST_READS, at_once
from dask_em.engine.source import Region
from dask_em.errors import ChunkError, SourceError
from dask_em.sources.columns import Column
from dask_em.sources.grid import region_text

__all__ = ["Named", "blaming", "chunk_name", "side_by_side"]

#: of a cell that fails, at most so many stored chunks are tried to find those to blame
TRIED_CHUNKS = 1000
#: and so many of them are named
NAMED_CHUNKS = 3

#: the stored chunks of an array that a region touches, by name, with what they share
Named: TypeAlias = Callable[[Any, Region], Iterator[tuple[str, Region]]]


def side_by_side(
    columns: Sequence[Column],
    region: Region,
    read: Callable[[Column], Array],
    dtype: np.dtype[Any],
    reads_at_once: int,
) -> Array:
    """(n, d) rows of a region, from the (n, f) values that `read` gives of each column."""
    if len(columns) == 1:
        return read(columns[0]).astype(dtype, copy=False)
    n = prod(part.stop - part.start for part in region)
    rows = np.empty((n, sum(column.axes.n_features for column in columns)), dtype)
    start = 0
    # where each request waits for an answer, all columns are asked for at once
    several = 1 if reads_at_once == 1 else min(len(columns), MOST_READS)
    parts = at_once((partial(read, column) for column in columns), several)
    for column, part in zip(columns, parts, strict=True):
        stop = start + column.axes.n_features
        rows[:, start:stop] = part
        start = stop
    return rows


@contextmanager
def blaming(column: Column, region: Region, named: Named, where: str, what: str) -> Iterator[None]:
    """Tell whatever a read may raise as a chunk that cannot be read.

    Parameters
    ----------
    column, region
        What is read.
    named : callable
        Tells the stored chunks of the column's array.
    where, what : str
        Where it lies, and what is to be repaired.

    Raises
    ------
    ChunkError
        Which names the stored chunks that fail when they are read alone.
    """
    try:
        yield
    except (MemoryError, SourceError):
        # a store that does not answer, or denies access, holds no bad chunk: nothing is skipped
        raise
    except Exception as error:
        # whatever a codec, a file system or a library raises: there is no common class
        bad = ", ".join(_bad_chunks(column, region, named))
        place = f"chunk {bad}" if bad else f"region {region_text(region)} of {column.label}"
        verb = "read" if isinstance(error, OSError) else "decoded"
        raise ChunkError(
            f"{place} cannot be {verb} ({type(error).__name__}: {error}) in {where}; repair {what} "
            'or pass on_bad_chunk="skip"'
        ) from error


def chunk_name(columns: Sequence[Column], region: Region, named: Named) -> str:
    """A region for error messages: the stored chunk, where it is one of one column."""
    if len(columns) == 1:
        touched = list(islice(_touched(columns[0], region, named), 2))
        if len(touched) == 1:
            return f"chunk {touched[0][0]}"
    return f"region {region_text(region)} of {', '.join(column.label for column in columns)}"


def _touched(column: Column, region: Region, named: Named) -> Iterator[tuple[str, Region]]:
    return named(column.array, column.axes.selection(region))


def _bad_chunks(column: Column, region: Region, named: Named) -> list[str]:
    """Names of the first stored chunks of the region that fail when read alone."""
    bad = []
    for name, selection in islice(_touched(column, region, named), TRIED_CHUNKS):
        try:
            column.array[selection]
        except Exception:
            bad.append(name)
        if len(bad) == NAMED_CHUNKS:
            break
    return bad
