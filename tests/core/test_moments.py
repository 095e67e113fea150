"""Moments of features: as NumPy has them, however rows are cut, and wherever they lie."""

from __future__ import annotations

import itertools
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from dask_em.core.block import Block
from dask_em.core.moments import FeatureMoments

RNG = np.random.default_rng(1)
ROWS = RNG.normal(size=(400, 3)) * [1, 1e-3, 1e4] + [0, 7, -1e5]
WEIGHTS = RNG.uniform(0, 3, 400)


def gappy(rows: np.ndarray) -> np.ndarray:
    rows = rows.copy()
    rows[RNG.random(rows.shape) < 0.2] = np.nan
    return rows


@given(cuts=st.lists(st.integers(0, 400), max_size=8), weighted=st.booleans(), gaps=st.booleans())
def test_blocks_add_up_to_what_numpy_says(cuts: list[int], weighted: bool, gaps: bool) -> None:
    rows = gappy(ROWS) if gaps else ROWS
    weights = WEIGHTS if weighted else np.ones(400)
    edges = [0, *sorted(cuts), 400]
    parts = [
        FeatureMoments.of(Block(rows[a:b], weights[a:b] if weighted else None))
        for a, b in itertools.pairwise(edges)
    ]
    found = reduce(add, parts)
    for j in range(3):
        seen = np.isfinite(rows[:, j])
        mean = np.average(rows[seen, j], weights=weights[seen])
        variance = np.average((rows[seen, j] - mean) ** 2, weights=weights[seen])
        assert_allclose(found.mass[j], weights[seen].sum(), rtol=1e-12)
        assert_allclose(found.mean[j], mean, rtol=1e-13)
        assert_allclose(found.deviation[j], np.sqrt(variance), rtol=1e-11)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9])
def test_no_digits_are_lost_far_from_zero(offset: float) -> None:
    steps = np.arange(1000.0)[:, None] % 4  # exact wherever it is added
    found = FeatureMoments.of(Block(steps + offset)) + FeatureMoments.of(Block(steps + offset))
    assert_allclose(found.mean, offset + 1.5, rtol=1e-15)
    assert_allclose(found.deviation, np.sqrt(1.25), rtol=1e-12)


def test_far_parts_are_merged_exactly() -> None:
    one, other = np.zeros((5, 1)), np.full((15, 1), 1e8)
    found = FeatureMoments.of(Block(one)) + FeatureMoments.of(Block(other))
    assert found.mean[0] == 0.75e8
    assert_allclose(found.deviation, np.std(np.vstack([one, other])), rtol=1e-14)


def test_nothing_adds_nothing() -> None:
    whole = FeatureMoments.of(Block(ROWS))
    none = FeatureMoments.of(Block(ROWS[:0]))
    never = FeatureMoments.of(Block(np.full((4, 3), np.nan)))
    for empty in (none, never):
        assert_array_equal(empty.mass, 0)
        for both in (whole + empty, empty + whole):
            assert both.equals(whole)


def test_rows_are_left_as_they_are() -> None:
    rows = gappy(ROWS)
    rows.flags.writeable = False
    FeatureMoments.of(Block(rows))
