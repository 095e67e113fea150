"""Block: a few thousand to a few million rows in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.core.names import abridged
from dask_em.core.records import Array
from dask_em.errors import DataError, SchemaError

__all__ = ["MISSING", "Block", "Missing", "check_weights", "listed"]

#: the policies on rows that hold NaN
MISSING = ("error", "drop", "model")


@dataclass(frozen=True)
class Block:
    """Rows and their weights.

    Parameters
    ----------
    values : array (n, d), float32 or float64
        The rows.
    weights : array (n,) or None
        Non-negative weight of each row; None means 1 for all. A weight of 0 leaves the row out.
    """

    values: Array  # (n, d) rows
    weights: Array | None = None  # (n,) row weights

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise SchemaError(
                f"a block holds rows and features, but the array has shape {self.values.shape}; "
                "reshape it to (rows, features)"
            )
        if self.weights is not None and self.weights.shape != self.values.shape[:1]:
            raise SchemaError(
                f"{self.weights.shape[0] if self.weights.ndim else 0} weights were given for "
                f"{len(self)} rows; give one weight per row"
            )

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def n_features(self) -> int:
        return int(self.values.shape[1])

    @property
    def mass(self) -> float:
        """Sum of the weights; the number of rows when there are none."""
        return float(len(self)) if self.weights is None else float(self.weights.sum(dtype=float))

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes + (0 if self.weights is None else self.weights.nbytes))

    def take(self, rows: slice | Array) -> Block:
        """The rows that a slice, a mask or an index array selects."""
        weights = None if self.weights is None else self.weights[rows]
        return Block(self.values[rows], weights)

    def observed(self) -> Array:
        """(n,) True where every feature of the row is finite."""
        return np.asarray(np.isfinite(self.values).all(axis=1))

    def gaps(self) -> tuple[int, int]:
        """How many rows are not wholly observed, and how many not at all; NaN is a gap."""
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self.values @ np.ones(self.n_features, self.values.dtype)  # NaN if one is
        # one column tells of nearly all rows that they are not empty
        maybe = np.flatnonzero(np.isnan(self.values[:, :1]).any(axis=1))
        empty = np.isnan(self.values[maybe]).all(axis=1)
        return int(np.isnan(sums).sum()), int(empty.sum())

    @staticmethod
    def concatenate(blocks: Sequence[Block]) -> Block:
        """One block of all rows, in order. All or none of the blocks carry weights."""
        if len(blocks) == 1:
            return blocks[0]
        weights = [block.weights for block in blocks if block.weights is not None]
        return Block(
            np.concatenate([block.values for block in blocks]),
            np.concatenate(weights) if weights else None,
        )


@dataclass(frozen=True)
class Missing:
    """What to do with rows that hold NaN. Infinity is refused, whatever the policy.

    Parameters
    ----------
    policy : {"error", "drop", "model"}
        Whether they are refused, left out, or given to the model as they are.
    modelled : bool
        Whether there is a model that does with what is observed of a row, for the words of errors.
    """

    policy: str = "error"
    modelled: bool = False

    def __post_init__(self) -> None:
        if self.policy not in MISSING:
            known = ", ".join(f'"{one}"' for one in MISSING)
            raise SchemaError(f"missing={self.policy!r}; it must be one of {known}")

    def apply(self, block: Block, where: str, names: Sequence[str] | None = None) -> Block:
        """The block's rows that may enter a fit.

        Parameters
        ----------
        where : str
            Where the block lies, for errors.
        names : sequence of str, optional
            Of the features, likewise.

        Raises
        ------
        DataError
            For NaN under "error", and for infinity always.
        """
        if _all_finite(block.values):
            return block
        infinite = np.asarray(np.isinf(block.values).any(axis=1))
        if infinite.any():
            raise DataError(
                f"Input X contains infinity: {int(infinite.sum())} of {len(block)} rows of "
                f"{where}, features {_columns(np.isinf(block.values), names)}; mask them or "
                "clip them first, no policy admits infinity"
            )
        if self.policy == "model":
            return block
        nan = np.isnan(block.values)
        rows = np.asarray(nan.any(axis=1))
        if self.policy == "error":
            raise DataError(
                f"Input X contains NaN: {int(rows.sum())} of {len(block)} rows of {where}, "
                f'features {_columns(nan, names)}; pass missing="drop" to leave such rows out'
                + self.modelled
                * ', or missing="model" to use what is observed of them'
            )
        return block.take(~rows)


def check_weights(weights: Any, n_rows: int | None = None) -> Array:
    """Weights as a float array.

    Raises
    ------
    DataError
        If a weight is negative, NaN or infinite, or none is positive.
    SchemaError
        If their number is not the number of rows.
    """
    weights = np.asarray(weights)
    if weights.dtype.kind not in "biuf":
        raise SchemaError(f"weights have dtype {weights.dtype}; give numbers")
    weights = weights.astype(np.float64, copy=False)
    if n_rows is not None and weights.shape != (n_rows,):
        raise SchemaError(
            f"sample_weight has shape {weights.shape}, expected {(n_rows,)}: one weight per row"
        )
    bad = ~(weights >= 0) | np.isinf(weights)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{int(bad.sum())} of {weights.size} weights are negative or not finite, the first is "
            f"{weights.flat[first]} at row {first}; weights must be >= 0 (0 leaves a row out)"
        )
    if weights.size and not weights.any():
        raise DataError(f"all {weights.size} weights are zero; at least one must be positive")
    return np.asarray(weights)


def _all_finite(values: Array) -> bool:
    # a product is one cheap pass; it may overflow on finite data, so only then look at each value
    flat = values.ravel(order="K")  # a view of what lies in one piece
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(flat @ flat)) or bool(np.isfinite(values).all())


def _columns(flags: Array, names: Sequence[str] | None) -> str:
    """Which columns of (n, d) flags are set, in words."""
    return listed(np.asarray(flags.any(axis=0)), names)


def listed(features: Array, names: Sequence[str] | None = None, limit: int = 5) -> str:
    """Features that flags (d,) are set for, in words, by their names where these are known."""
    found = np.flatnonzero(features)
    return abridged([i if names is None else names[i] for i in found.tolist()], limit)
