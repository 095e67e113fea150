"""Curves in one line of text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_em.cli.jobs.sparkline import BARS, sparkline

Values = st.lists(st.one_of(st.none(), st.floats(allow_nan=True)))


@given(Values, st.integers(1, 30))
def test_fits_its_width_and_is_made_of_bars(values: list[float | None], width: int) -> None:
    text = sparkline(values, width)
    assert len(text) == min(len(values), width)
    assert set(text) <= {*BARS, " "}


@given(st.lists(st.integers(-1000, 1000), min_size=2, unique=True), st.integers(1, 30))
def test_a_curve_that_climbs_climbs(values: list[int], width: int) -> None:
    text = sparkline(sorted(values), width)
    assert list(text) == sorted(text)
    assert text[-1] == (BARS[-1] if width > 1 else "▄")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([5.0], "▄"),
        ([2.0, 2.0, 2.0], "▄▄▄"),
        ([0.0, 1.0], "▁█"),
        ([3.0, 2.0, 1.0, 0.0], "█▆▃▁"),
        ([None, 0.0, None, 7.0], " ▁ █"),
        ([math.nan, 0.0, math.inf, 7.0], " ▁ █"),
        ([None, None], "  "),
        ([0, 1, 2, 3, 4, 5, 6, 7], BARS),
        ([-1e308, 1e308], "▄▄"),
    ],
)
def test_curves(values: list[float | None], expected: str) -> None:
    assert sparkline(values, 20) == expected


def test_more_points_than_columns_show_the_last_of_each() -> None:
    assert sparkline(list(range(800)), 8) == BARS
    assert sparkline([9.0, 0.0, None, 3.0, 0.0, 7.0], 3) == "▁▄█"
    assert sparkline([0.0, None, 1.0, None], 2) == "▁█"
    assert sparkline([None, None, 0.0, 1.0], 2) == " ▄"
