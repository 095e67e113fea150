"""Laws of the chunk grid."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_em.sources.grid import Grid, region_text


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    axes = draw(st.integers(1, 3))
    shape, chunks = [], []
    for _ in range(axes):
        if draw(st.booleans()):
            shape.append(draw(st.integers(0, 9)))
            chunks.append(draw(st.integers(1, 11)))
        else:
            lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
            shape.append(sum(lengths))
            chunks.append(tuple(lengths))
    return Grid(tuple(shape), tuple(chunks))


def lengths(grid: Grid, index: int) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in grid.region(index))


@given(grids())
def test_cells_cover_the_axes_once(grid: Grid) -> None:
    covered = np.zeros(grid.shape, dtype=int)
    for index in range(grid.n_cells):
        covered[grid.region(index)] += 1
        assert all(a <= b for a, b in zip(lengths(grid, index), grid.largest, strict=True))
    assert (covered == 1).all()


@given(grids(), st.integers(1, 16), st.integers(1, 2000))
def test_coarse_cells_are_whole_cells_within_the_target(
    grid: Grid, row_bytes: int, target: int
) -> None:
    coarse = grid.coarsen(row_bytes, target)
    assert coarse.n_cells <= grid.n_cells
    for mine, joined in zip(grid.chunks, coarse.chunks, strict=True):
        if isinstance(mine, int):
            assert isinstance(joined, int)
            assert joined % mine == 0
        else:
            assert joined == mine
    before = prod(grid.largest) * row_bytes
    assert prod(coarse.largest) * row_bytes <= max(before, target)


@given(grids(), st.integers(1, 16), st.integers(1, 2000))
def test_shrunk_cells_fit_the_target_or_hold_one_row(
    grid: Grid, row_bytes: int, target: int
) -> None:
    size = prod(grid.shrink(row_bytes, target).largest) * row_bytes
    assert size <= max(target, row_bytes)


def test_cells_are_numbered_in_c_order() -> None:
    grid = Grid((4, 6), (2, 3))
    assert [grid.cell(index) for index in range(4)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert region_text(grid.region(3)) == "[2:4, 3:6]"
    with pytest.raises(IndexError, match="cell 4 of 4"):
        grid.region(4)


def test_the_last_axis_is_joined_first() -> None:
    grid = Grid((10, 100), (1, 10))
    assert grid.coarsen(1, 55).chunks == (1, 50)
    assert grid.coarsen(1, 100).chunks == (1, 100)
    assert grid.coarsen(1, 500).chunks == (5, 100)
    assert grid.coarsen(1, 5).chunks == (1, 10)


def test_an_empty_axis_leaves_no_cells_but_those_that_are_given() -> None:
    assert Grid((0, 5), (3, 2)).n_cells == 0
    assert Grid((0, 5), (3, 2)).lengths == ((), (2, 2, 1))
    assert Grid((0, 5), ((0,), (5,))).n_cells == 1


def test_other_chunks_are_joined_in_common_multiples() -> None:
    assert Grid((24, 10), (4, 10)).joined_with((6, 3)).chunks == (12, 10)


@pytest.mark.parametrize(("most", "length"), [(10, 10), (9, 5), (5, 5), (4, 4), (2, 2), (1, 1)])
def test_cells_are_cut_evenly_where_that_is_near(most: int, length: int) -> None:
    assert Grid((95,), (10,)).shrink(1, most).chunks == (length,)
    assert Grid((95,), (7,)).shrink(1, 4).chunks == (4,)
    assert Grid((0, 9), (5, 3)).shrink(1, 4).chunks == (1, 3)
