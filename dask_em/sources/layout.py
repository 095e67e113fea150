"""Layout: the shape, the chunks and the axes of an array of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any, Self

from dask_em.core.names import abridged
from dask_em.engine.source import Schema
from dask_em.errors import SchemaError

__all__ = ["Layout", "named_apart"]

#: a chunk of the output may be this much shorter than the longest chunk that is read
FINEST = 8


@dataclass(frozen=True)
class Layout:
    """How answers for the rows of a source are stored."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dims: tuple[str, ...]

    @classmethod
    def of(
        cls,
        schema: Schema,
        trailing: Sequence[int] = (),
        axes: Sequence[str] = (),
    ) -> Self:
        """The layout in which no two regions that are written share a chunk.

        Parameters
        ----------
        schema : Schema
            Of the source whose rows are answered; its sample chunks become the array's.
        trailing : sequence of int
            Lengths of further axes, for more than one number a row.
        axes : sequence of str
            Their names.

        Raises
        ------
        SchemaError
            If the source's chunks have no known or no regular lengths.
        """
        chunks = _chunks(schema)
        shape = tuple(schema.sample_shape or ())
        names = schema.sample_dims or _axis_names(len(shape))
        return cls(
            (*shape, *trailing),
            (*chunks, *(max(1, length) for length in trailing)),
            (*names, *named_apart(axes, names)),
        )


def named_apart(axes: Sequence[str], sample_dims: Sequence[Any]) -> list[str]:
    """Names of the axes of answers, of which none is that of a sample axis."""
    return [f"model_{axis}" if axis in sample_dims else axis for axis in axes]


def _chunks(schema: Schema) -> tuple[int, ...]:
    if schema.sample_chunks is None or schema.sample_shape is None:
        raise SchemaError(
            f"the chunks of {schema.describe} have no known lengths, so answers cannot be laid "
            "out; call compute_chunk_sizes() on a dask array first; what is answered of a dask "
            "DataFrame is written with .to_parquet() of the answers"
        )
    return tuple(_chunk(lengths, axis, schema) for axis, lengths in enumerate(schema.sample_chunks))


def _chunk(lengths: Sequence[int], axis: int, schema: Schema) -> int:
    # all boundaries are multiples of the greatest common divisor; where the last ends is no matter
    longest = max((1, *lengths))
    common = gcd(*lengths[:-1]) or longest
    if common * FINEST < longest:
        dims = schema.sample_dims
        place = f"axis {axis}" if dims is None else dims[axis]
        raise SchemaError(
            f"the chunks of {schema.describe} along {place} have lengths {abridged(lengths)}, "
            f"which no regular chunks of at least {-(-longest // FINEST)} fit; rechunk it to equal "
            f"lengths first, e.g. {_rechunk(axis, longest, dims)}"
        )
    return common


def _rechunk(axis: int, length: int, dims: Sequence[str] | None) -> str:
    # what has named axes and chunks of unequal lengths is xarray's
    return (
        f"x.rechunk({{{axis}: {length}}})" if dims is None else f"ds.chunk({dims[axis]}={length})"
    )


def _axis_names(n: int) -> tuple[str, ...]:
    # xarray opens nothing without names
    return ("row",) if n == 1 else tuple(f"axis_{axis}" for axis in range(n))
