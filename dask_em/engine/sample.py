"""The first pass: what the data look like, and a uniform sample of their rows.

A row is kept by a hash of its position, so the sample depends on the data and its size alone,
not on chunks, tasks or workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.engine.source import Partition, Schema
from dask_em.engine.stream import Piece, Reading, Tally, fold_leaves
from dask_em.errors import DataError

__all__ = ["Sampling", "Survey", "survey_leaves"]

#: bytes of a sample, and its rows: enough for starts, light on the client
SAMPLE_BYTES = 32 << 20
SAMPLE_ROWS = 1 << 17
#: values whose squares, and sums of squares, a float can hold
LARGEST = {np.dtype(np.float32): 1e18, np.dtype(np.float64): 1e150}


@dataclass(frozen=True)
class Survey:
    """Extremes, counts and a sample; two of them merge."""

    rows: Array  # (m, d) of the sample
    weights: Array | None  # (m,)
    positions: Array  # (m,) int64
    keys: Array  # (m,) uint64 hashes of the positions
    size: int  # most rows that the sample may have
    low: Array  # (d,) minimum
    high: Array  # (d,) maximum
    mass: float  # sum of weights
    tally: Tally

    def __add__(self, other: Survey) -> Survey:
        return Survey(
            np.concatenate([self.rows, other.rows]),
            self._weights_with(other),
            np.concatenate([self.positions, other.positions]),
            np.concatenate([self.keys, other.keys]),
            self.size,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.mass + other.mass,
            self.tally + other.tally,
        )._thinned()

    def _weights_with(self, other: Survey) -> Array | None:
        # a chunk that was skipped has no rows, and nobody knows whether it had weights
        parts = [part for part in (self, other) if len(part.rows)]
        weights = [part.weights for part in parts if part.weights is not None]
        return np.concatenate(weights) if weights else None

    @property
    def complete(self) -> bool:
        """Whether the sample holds every row."""
        return len(self.rows) == self.tally.rows

    def sample(self) -> Block:
        """The rows: in the data's order when all are there, otherwise in the order of their hash.

        In the latter, every beginning of the sample is itself a uniform sample.
        """
        order = np.argsort(self.positions if self.complete else self.keys, kind="stable")
        weights = None if self.weights is None else self.weights[order]
        return Block(self.rows[order], weights)

    def _thinned(self) -> Survey:
        if len(self.keys) <= self.size:
            return self
        return self._taken(np.sort(np.argpartition(self.keys, self.size - 1)[: self.size]))

    def _taken(self, kept: Array) -> Survey:
        return Survey(
            self.rows[kept],
            None if self.weights is None else self.weights[kept],
            self.positions[kept],
            self.keys[kept],
            self.size,
            self.low,
            self.high,
            self.mass,
            self.tally,
        )


@dataclass(frozen=True)
class Sampling:
    """What the tasks of the first pass share."""

    reading: Reading
    size: int  # most rows of the sample
    below: np.uint64  # only rows with a smaller key can be among them

    @classmethod
    def of(cls, schema: Schema, reading: Reading, n_rows: int | None = None) -> Sampling:
        """The default size of a sample for these data, of which `n_rows` are not dropped."""
        n_rows = n_rows or schema.n_rows
        size = min(SAMPLE_ROWS, max(1000, SAMPLE_BYTES // (8 * max(schema.n_features, 1))))
        # twice the expected share is more than enough, and spares moving rows that are thinned out
        share = 1.0 if not n_rows else min(1.0, 2 * size / n_rows)
        return cls(reading, size, np.uint64(min(int(share * 2**64), 2**64 - 1)))


def survey_leaves(
    leaves: list[Partition], sampling: Sampling, stopped: Callable[[], bool]
) -> Survey | None:
    """The survey of a task's leaves; None if they are empty."""
    reading = sampling.reading
    return fold_leaves(leaves, reading, lambda piece: _survey(piece, sampling), stopped)


def _survey(piece: Piece, sampling: Sampling) -> Survey:
    block, positions = piece.block, piece.positions
    d = block.n_features
    if positions is None or not len(block):
        positions = np.empty(0, np.int64)
        block = Block(block.values[:0], None if block.weights is None else block.weights[:0])
    keys = _hashed(positions)
    kept = np.flatnonzero(keys < sampling.below)
    values = block.values
    low = values.min(axis=0) if len(values) else np.full(d, np.inf)
    high = values.max(axis=0) if len(values) else np.full(d, -np.inf)
    weights = None if block.weights is None else block.weights[kept]
    survey = Survey(
        values[kept], weights, positions[kept], keys[kept], sampling.size,
        low.astype(float), high.astype(float), block.mass, piece.tally,
    )  # fmt: skip
    return survey._thinned()


def _hashed(positions: Array) -> Array:
    """SplitMix64 of each position, Steele, Lea and Flood (2014)."""
    with np.errstate(over="ignore"):
        z = positions.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def checked(survey: Survey | None, schema: Schema) -> Survey:
    """The survey, if there is anything to fit."""
    if survey is None or not survey.tally.rows:
        tally = Tally() if survey is None else survey.tally
        reasons = [f"all {tally.dropped} rows hold NaN and were dropped"] * bool(tally.dropped)
        reasons += [f"{tally.bad_chunks} unreadable chunks were skipped"] * bool(tally.bad_chunks)
        reason = " and ".join(reasons) or "no weight is positive, or it is empty"
        raise DataError(f"{schema.describe} has no row to fit: {reason}; mend or select the data")
    largest = float(max(-survey.low.min(), survey.high.max()))
    limit = LARGEST[schema.dtype]
    if largest > limit:
        raise DataError(
            f"{schema.describe} holds values up to {largest:g}, too large to be squared in "
            f"{schema.dtype}; rescale the features to below {limit:g}"
        )
    if not survey.mass > 0:
        raise DataError(f"all weights of {schema.describe} are zero; one must be positive")
    return survey
