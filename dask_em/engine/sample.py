"""The first pass: what the data look like, and a uniform sample of their rows.

A row is kept by a hash of its position, so the sample depends on the data and its size alone,
not on chunks, tasks or workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.source import Partition, Schema
from dask_em.engine.stream import Piece, Reading, Tally, fold_leaves
from dask_em.errors import DataError

__all__ = [
    "Sampling",
    "Survey",
    "check_squares",
    "largest_size",
    "surrogate_size",
    "survey",
    "survey_leaves",
]

#: bytes of a sample, and its rows: enough for starts, light on the client
SAMPLE_BYTES = 32 << 20
SAMPLE_ROWS = 1 << 17
#: so many rows, or 100 of very wide ones, may take more than these bytes
FEWEST_ROWS = 1000
#: rows for each free parameter of a sample that stands for all rows, and its bytes
ROWS_PER_PARAMETER = 1000
SURROGATE_BYTES = 144 << 20
#: values whose squares, and sums of squares, a float can hold
LARGEST = {np.dtype(np.float32): 1e18, np.dtype(np.float64): 1e150}


@dataclass(frozen=True)
class Part:
    """Rows of a sample from one place."""

    rows: Array  # (m, d)
    weights: Array | None  # (m,)
    positions: Array  # (m,) int64

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, kept: Array) -> Part:
        """The rows with the given indices."""
        weights = None if self.weights is None else self.weights[kept]
        return Part(self.rows[kept], weights, self.positions[kept])

    @staticmethod
    def joined(parts: Sequence[Part]) -> Part:
        """All rows of several parts."""
        # a chunk that was skipped has no rows, and nobody knows whether it had weights
        full = [part for part in parts if len(part)] or list(parts[:1])
        if len(full) == 1:
            return full[0]
        weights = [part.weights for part in full if part.weights is not None]
        return Part(
            np.concatenate([part.rows for part in full]),
            np.concatenate(weights) if weights else None,
            np.concatenate([part.positions for part in full]),
        )

    def thinned(self, size: int) -> Part:
        """The rows whose hashes are smallest, at most `size`."""
        if len(self) <= size:
            return self
        smallest = np.argpartition(_hashed(self.positions), size - 1)[:size]
        return self.take(np.sort(smallest))


@dataclass(frozen=True)
class Survey:
    """Extremes, counts and a sample; two of them merge, without copying a row."""

    parts: tuple[Part, ...]  # together hardly more than the sample
    size: int  # most rows that the sample may have
    low: Array  # (d,) minimum
    high: Array  # (d,) maximum
    mass: float  # sum of weights
    tally: Tally

    def __add__(self, other: Survey) -> Survey:
        return Survey(
            _bounded((*self.parts, *other.parts), self.size),
            self.size,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.mass + other.mass,
            self.tally + other.tally,
        )

    @property
    def n_kept(self) -> int:
        """Rows of the sample."""
        return min(self.size, sum(map(len, self.parts)))

    @property
    def complete(self) -> bool:
        """Whether the sample holds every row."""
        return self.n_kept == self.tally.rows

    def sample(self) -> Block:
        """The rows: in the data's order when all are there, otherwise in the order of their hash.

        In the latter, every beginning of the sample is itself a uniform sample.
        """
        part = Part.joined(self.parts)
        keys = part.positions if self.complete else _hashed(part.positions)
        part = part.take(np.argsort(keys, kind="stable")[: self.size])
        return Block(part.rows, part.weights)


def _bounded(parts: tuple[Part, ...], size: int) -> tuple[Part, ...]:
    """The parts, thinned out where they hold much more than a sample."""
    if sum(map(len, parts)) <= 1.5 * size + 1000:
        return parts
    return (Part.joined(parts).thinned(size),)


@dataclass(frozen=True)
class Sampling:
    """What the tasks of the first pass share."""

    reading: Reading
    size: int  # most rows of the sample
    below: np.uint64  # only rows with a smaller key can be among them

    @classmethod
    def of(cls, schema: Schema, reading: Reading, size: int | None = None) -> Sampling:
        """A sample of `size` rows of these data; by default what a start needs."""
        size = size or default_size(schema)
        return cls(replace(reading, with_positions=True), size, _ALL).of_rows(schema.n_rows)

    def of_rows(self, n_rows: int | None) -> Sampling:
        """The same sample where so many rows are not dropped."""
        # hardly ever too few, and it spares moving rows that are thinned out
        ample = self.size + 6 * np.sqrt(self.size) + 100
        share = 1.0 if not n_rows else min(1.0, ample / n_rows)
        return replace(self, below=np.uint64(min(int(share * 2**64), 2**64 - 1)))


_ALL = np.uint64(2**64 - 1)


def default_size(schema: Schema) -> int:
    """Rows that a start is made from."""
    fitting = SAMPLE_BYTES // (8 * max(schema.n_features, 1))
    return min(SAMPLE_ROWS, max(100, min(FEWEST_ROWS, 4 * fitting), fitting))


def surrogate_size(schema: Schema, n_free: int | None) -> int:
    """Rows that stand for all of them between passes, for a model of n_free parameters."""
    size = min(ROWS_PER_PARAMETER * (n_free or 1), _held(schema))
    if schema.n_rows is not None and size < schema.n_rows:
        size = min(size, schema.n_rows // 4)
    return max(default_size(schema), size)


def largest_size(schema: Schema, n_rows: int | None) -> int:
    """Rows to which a sample of n_rows may grow; None where their number is not known."""
    held = _held(schema)
    return held if n_rows is None else min(held, n_rows // 4)


def _held(schema: Schema) -> int:
    """Rows that fit into the bytes of a sample, as they are and in float64."""
    return SURROGATE_BYTES // ((schema.dtype.itemsize + 8) * max(schema.n_features, 1))


def survey_leaves(
    leaves: list[Partition], sampling: Sampling, stopped: Callable[[], bool]
) -> Survey | None:
    """The survey of a task's leaves; None if they are empty."""
    reading = sampling.reading
    return fold_leaves(leaves, reading, lambda piece: survey(piece, sampling), stopped)


def survey(piece: Piece, sampling: Sampling) -> Survey:
    """What a piece with the positions of its rows adds."""
    block, positions = piece.block, piece.positions
    if positions is None or not len(block):
        positions = np.empty(0, np.int64)
        block = Block(block.values[:0], None if block.weights is None else block.weights[:0])
    keys = _hashed(positions)
    kept = np.flatnonzero(keys < sampling.below)
    values = block.values
    low, high = _extremes(values)
    weights = None if block.weights is None else block.weights[kept]
    part = Part(values[kept], weights, positions[kept]).thinned(sampling.size)
    return Survey(
        (part,), sampling.size, low.astype(float), high.astype(float), block.mass, piece.tally
    )


def _extremes(values: Array) -> tuple[Array, Array]:
    """Minimum and maximum (d,) of what is observed; inf and -inf where nothing is."""
    d = values.shape[1]
    if not len(values):
        return np.full(d, np.inf), np.full(d, -np.inf)
    low, high = values.min(axis=0), values.max(axis=0)
    if np.isnan(low).any():
        low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
        never = np.isnan(low)
        low[never], high[never] = np.inf, -np.inf
    return low, high


def _hashed(positions: Array) -> Array:
    """SplitMix64 of each position, Steele, Lea and Flood (2014)."""
    with np.errstate(over="ignore"):
        z = positions.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def checked(found: Survey | None, schema: Schema) -> Survey:
    """The survey, if there is anything to fit."""
    if found is None or not found.tally.rows:
        tally = Tally() if found is None else found.tally
        reasons = [f"all {tally.dropped} rows hold NaN and were dropped"] * bool(tally.dropped)
        reasons += [f"{tally.bad_chunks} unreadable chunks were skipped"] * bool(tally.bad_chunks)
        reason = " and ".join(reasons) or "no weight is positive, or it is empty"
        raise DataError(f"{schema.describe} has no row to fit: {reason}; mend or select the data")
    _check_observed(found, schema)
    check_squares(float(max(-found.low.min(), found.high.max())), schema)
    if not found.mass > 0:
        raise DataError(f"all weights of {schema.describe} are zero; one must be positive")
    return found


def check_squares(largest: float, schema: Schema) -> None:
    """Refuse values, of which this is the largest magnitude, that cannot be squared."""
    limit = LARGEST[schema.dtype]
    if largest > limit:
        raise DataError(
            f"{schema.describe} holds values up to {largest:g}, too large to be squared in "
            f"{schema.dtype}; rescale the features to below {limit:g}"
        )


def _check_observed(found: Survey, schema: Schema) -> None:
    never = found.low > found.high
    if never.any():
        raise DataError(
            f"{int(never.sum())} of {schema.n_features} features of {schema.describe} are never "
            f"observed: {schema.named(never)}; leave them out"
        )
