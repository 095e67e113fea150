"""Which points are drawn."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dask_em.dashboard.thin import picks


@given(st.integers(0, 100_000), st.integers(2, 3000))
def test_few_points_in_order_with_both_ends(n: int, most: int) -> None:
    drawn = picks(n, most)
    assert len(drawn) == min(n, most)
    assert all(a < b for a, b in pairwise(drawn))
    assert drawn[:1] == [0][:n]
    assert drawn[-1:] == [n - 1][:n]


@given(st.integers(1, 2000), st.integers(2, 100))
def test_evenly_spread(n: int, most: int) -> None:
    drawn = picks(n, most)
    gaps = {b - a for a, b in pairwise(drawn)}
    assert max(gaps, default=1) - min(gaps, default=1) <= 1
