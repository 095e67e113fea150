"""Source, Schema, Partition, Chunk: what the engine asks of a place where rows live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dask_em.core.block import Block, listed
from dask_em.core.records import Array
from dask_em.engine.fingerprint import Fingerprint
from dask_em.mapping.chain import LocatedChain

if TYPE_CHECKING:
    from dask_em.engine.predict import Prediction
    from dask_em.engine.query import Query

__all__ = ["Change", "Chunk", "Coordinate", "Partition", "Reader", "Region", "Schema", "Source"]

#: where a chunk lies among the samples: one slice per sample axis, with known start and stop
Region: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True)
class Schema:
    """What is known of a source before a value is read.

    Parameters
    ----------
    n_features : int
        d.
    dtype : numpy.dtype
        float32 or float64: the dtype of every block.
    sample_shape : tuple of int, or None
        Lengths of the sample axes, in order; None where they are not known.
    n_chunks : int
        How many chunks are read in a pass.
    chunk_bytes : int
        Decoded bytes of the largest chunk, as floating point rows.
    sample_chunks : tuple of tuple of int, or None
        Lengths of the chunks along each sample axis; chunk i is the i-th cell of this grid in C
        order. None where they are not known, or chunks do not form a grid.
    feature_names : tuple of str, or None
    describe : str
        The source in the words of an error message, e.g. ``"Zarr array /data/x.zarr"``.
    stored_bytes : int, or None
        Bytes on disk, where the store tells them cheaply.
    decoding_bytes : int
        Bytes of what is decoded beside the rows of a chunk, and thrown away again.
    sample_dims : tuple of str, or None
        Names of the sample axes.
    feature_units : tuple of (str or None), or None
        Physical unit of each feature, as its source spells it.
    """

    n_features: int
    dtype: np.dtype
    sample_shape: tuple[int, ...] | None
    n_chunks: int
    chunk_bytes: int
    feature_names: tuple[str, ...] | None
    describe: str
    sample_chunks: tuple[tuple[int, ...], ...] | None = None
    stored_bytes: int | None = None
    decoding_bytes: int = 0
    sample_dims: tuple[str, ...] | None = None
    feature_units: tuple[str | None, ...] | None = None

    @property
    def n_rows(self) -> int | None:
        """How many rows there are, before any is dropped; None where that is not known."""
        return None if self.sample_shape is None else int(np.prod(self.sample_shape, dtype=int))

    @property
    def nbytes(self) -> int | None:
        """Decoded bytes of all rows; None where their number is not known."""
        rows = self.n_rows
        return None if rows is None else rows * self.n_features * self.dtype.itemsize

    def named(self, features: Array, limit: int = 5) -> str:
        """Some features in words, by their names where these are known.

        Parameters
        ----------
        features : array (d,) of bool
        limit : int
            How many are listed at most.
        """
        return listed(features, self.feature_names, limit)

    def region(self, index: int) -> Region | None:
        """Where a chunk lies, without reading it; None where `sample_chunks` are not known."""
        if self.sample_chunks is None:
            return None
        cell = np.unravel_index(index, tuple(map(len, self.sample_chunks)))
        starts = [sum(axis[:i]) for axis, i in zip(self.sample_chunks, cell, strict=True)]
        lengths = [axis[i] for axis, i in zip(self.sample_chunks, cell, strict=True)]
        return tuple(
            slice(start, start + length) for start, length in zip(starts, lengths, strict=True)
        )


@dataclass(frozen=True)
class Coordinate:
    """Labels along sample axes, such as a time for each sample, as a store would hold them."""

    dims: tuple[str, ...]  # of the sample axes, in the order of the axes of `values`
    values: Array  # numbers or text; a time is a number whose attributes tell its units
    attributes: Mapping[str, Any]  # in JSON


@dataclass(frozen=True)
class Chunk:
    """Rows as they were read, and where they lie."""

    index: int  # among the source's chunks
    name: str  # for error messages, e.g. "chunk c/3/0 of temperature"
    block: Block  # rows in C order of the sample axes
    region: Region | None  # None where positions are not known before reading
    kept: Array | None = None  # (n,) bool: rows that are not masked; None for all
    mapping: LocatedChain | None = None  # what was done to the rows of the chunk
    stored: Array | None = None  # (n, d) the rows before that, where they are wanted as well

    def positions(self, sample_shape: tuple[int, ...] | None) -> Array:
        """(n,) int64 position of each row: its flat index where the shape is known.

        Where it is not, the chunk's index in the upper and the row's in the lower 32 bits.
        """
        n = len(self.block)
        if self.region is None or sample_shape is None:
            return (np.int64(self.index) << 32) + np.arange(n, dtype=np.int64)
        axes = [np.arange(part.start, part.stop, dtype=np.int64) for part in self.region]
        flat = np.zeros((1,), dtype=np.int64)
        for axis, length in zip(axes, sample_shape, strict=True):
            flat = (flat[:, None] * length + axis).ravel()
        return flat


#: reads the chunk with the given index; raises ChunkError, which names it, when that fails
Reader: TypeAlias = Callable[[int], Chunk]


@dataclass(frozen=True)
class Partition(ABC):
    """A run of chunks, small and picklable; it opens its store where it is used."""

    chunks: range
    #: how many chunks are read at a time, in threads: several where each waits for an answer
    reads_at_once: int = field(default=1, kw_only=True)

    #: whether reading is free because the rows lie in this process's memory
    resident = False

    @abstractmethod
    def open(self) -> Reader:
        """Open the store; return what reads one of `chunks`."""

    def salvage(self, index: int) -> tuple[list[Chunk], int]:
        """What can be read of a chunk that cannot be read as a whole, and how many parts cannot."""
        return [], 1


#: what is done to a chunk after it was read
Change: TypeAlias = Callable[[Chunk], Chunk]


class Source(ABC):
    """A place where rows live. Making one reads metadata and no rows."""

    schema: Schema

    #: whether the rows lie in this process's memory, so that the work is done here as well
    local: bool = False

    #: that of its partitions; a plan lowers it where memory is short
    reads_at_once: int = 1

    @abstractmethod
    def partition(self, chunks: range) -> Partition:
        """The partition of the given run of chunks."""

    def fingerprint(self) -> Fingerprint:
        """What tells these rows from others, without a pass over them; asked after every pass."""
        return Fingerprint.of(self.schema)

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Coordinates of the sample axes by name, read now; for what is written beside answers."""
        return {}

    @property
    def origin(self) -> Source:
        """The source that reads, under whatever is done to its rows."""
        return self

    def labelled(self, answers: Any, query: Query) -> Any:
        """Answers for all samples, in the kind of container that the rows came in.

        Parameters
        ----------
        answers : array or dask.array.Array
            In the shape of the samples, with the axes of the query behind.
        query : Query
            What was asked.
        """
        return answers

    def answered(self, prediction: Prediction, change: Change | None = None) -> Any:
        """Answers to one query in a lazy container of the source's own, part by part.

        None for most sources: their answers are arrays, which `labelled` takes.

        Parameters
        ----------
        prediction : Prediction
            What is asked of the rows.
        change : callable, optional
            What makes of a chunk as it was read one that is asked.
        """
        return None
