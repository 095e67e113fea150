"""Blocks, the policy on missing values, and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dask_em.core.block import Block, Missing, check_weights
from dask_em.errors import DataError, SchemaError

ROWS = np.arange(12.0).reshape(6, 2)
HOLES = ROWS.copy()
HOLES[1, 0] = HOLES[4, 1] = np.nan
WEIGHTS = np.arange(6.0)


def test_a_block_knows_its_size() -> None:
    block = Block(ROWS, WEIGHTS)
    assert (len(block), block.n_features, block.mass) == (6, 2, 15.0)
    assert block.nbytes == ROWS.nbytes + WEIGHTS.nbytes
    assert Block(ROWS).mass == 6.0
    assert Block(ROWS[:0], WEIGHTS[:0]).mass == 0.0


def test_the_mass_of_many_float32_weights() -> None:
    weights = np.full(2**25 + 2, 1.0, np.float32)
    assert Block(np.zeros((len(weights), 0), np.float32), weights).mass == 2**25 + 2


@pytest.mark.parametrize("shape", [(6,), (2, 3, 2), ()])
def test_a_block_has_two_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(SchemaError, match=r"has shape .*; reshape it to \(rows, features\)"):
        Block(np.zeros(shape))


@pytest.mark.parametrize("shape", [(5,), (6, 1), ()])
def test_a_block_has_a_weight_per_row(shape: tuple[int, ...]) -> None:
    with pytest.raises(SchemaError, match="for 6 rows; give one weight per row"):
        Block(ROWS, np.ones(shape))


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([5, 0]), np.arange(6) % 2 == 0])
def test_rows_take_their_weights_along(rows: Any) -> None:
    taken = Block(ROWS, WEIGHTS).take(rows)
    assert taken.weights is not None
    assert (taken.values[:, 0] == 2 * taken.weights).all()
    assert Block(ROWS).take(rows).weights is None


def test_concatenate_is_the_inverse_of_take() -> None:
    block = Block(ROWS, WEIGHTS)
    joined = Block.concatenate([block.take(slice(0, 2)), block.take(slice(2, 6))])
    assert (joined.values == ROWS).all()
    assert joined.weights is not None
    assert (joined.weights == WEIGHTS).all()
    assert Block.concatenate([Block(ROWS), Block(ROWS)]).weights is None
    assert Block.concatenate([block]) is block


def test_observed_rows_are_finite() -> None:
    assert list(Block(HOLES).observed()) == [True, False, True, True, False, True]


def test_missing_lets_finite_rows_pass_untouched() -> None:
    block = Block(ROWS, WEIGHTS)
    for policy in ("error", "drop"):
        assert Missing(policy).apply(block, "x") is block


def test_missing_error_names_place_rows_features_and_remedy() -> None:
    message = r'Input X contains NaN: 2 of 6 rows of chunk 7, features 0, 1; pass missing="drop"'
    with pytest.raises(DataError, match=message):
        Missing().apply(Block(HOLES), "chunk 7")


def test_missing_drop_leaves_rows_out_with_their_weights() -> None:
    kept = Missing("drop").apply(Block(HOLES, WEIGHTS), "x")
    assert (kept.values == ROWS[[0, 2, 3, 5]]).all()
    assert kept.weights is not None
    assert list(kept.weights) == [0, 2, 3, 5]
    nothing = Missing("drop").apply(Block(np.full((3, 2), np.nan)), "x")
    assert nothing.values.shape == (0, 2)


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_no_policy_admits_infinity(policy: str) -> None:
    rows = HOLES.copy()
    rows[2, 1] = -np.inf
    with pytest.raises(DataError, match="Input X contains infinity: 1 of 6 rows of chunk 7, feat"):
        Missing(policy).apply(Block(rows), "chunk 7")


def test_finite_rows_whose_sum_overflows_are_no_infinity() -> None:
    block = Block(np.full((4, 1), 1e308))
    assert Missing().apply(block, "x") is block


def test_many_features_are_abridged() -> None:
    with pytest.raises(DataError, match=r"features 0, 1, 2, 3, 4, \.\.\. \(9 in all\)"):
        Missing().apply(Block(np.full((1, 9), np.nan)), "x")


def test_a_policy_must_be_known() -> None:
    with pytest.raises(
        SchemaError, match='missing=\'ignore\'; it must be one of "error", "drop", "model"'
    ):
        Missing("ignore")


@pytest.mark.parametrize("weights", [[1, 0, 2], [True, False], np.array([0.5], np.float32)])
def test_weights_become_float64(weights: Any) -> None:
    checked = check_weights(weights)
    assert checked.dtype == np.float64
    assert checked.tolist() == np.asarray(weights, float).tolist()


@pytest.mark.parametrize(
    ("weights", "n_rows", "error", "message"),
    [
        ([1, -2, -3], None, DataError, "2 of 3 weights .* the first is -2.0 at row 1; .* >= 0"),
        (
            [1, np.nan],
            None,
            DataError,
            "1 of 2 weights are negative or not finite, the first is nan",
        ),
        ([np.inf, 1], None, DataError, "the first is inf at row 0"),
        ([0, 0], None, DataError, "all 2 weights are zero; at least one must be positive"),
        (["a"], None, SchemaError, "weights have dtype <U1; give numbers"),
        ([1j], None, SchemaError, "weights have dtype complex128"),
        (
            [1, 2],
            3,
            SchemaError,
            r"sample_weight has shape \(2,\), expected \(3,\): one weight per",
        ),
        ([[1, 2]], 2, SchemaError, r"sample_weight has shape \(1, 2\), expected \(2,\)"),
    ],
)
def test_bad_weights(weights: Any, n_rows: int | None, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        check_weights(weights, n_rows)
