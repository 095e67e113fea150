from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_em.engine.reduce import fold, groups, leaves, merge


@given(st.integers(0, 5000))
def test_leaves_cover_the_chunks_in_order(n_chunks):
    runs = leaves(n_chunks)
    assert [index for run in runs for index in run] == list(range(n_chunks))
    assert len(runs).bit_count() == 1
    assert len(runs) <= 512


@given(
    st.integers(0, 6).flatmap(
        lambda power: st.lists(
            st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=2**power, max_size=2**power
        )
    ),
    st.sampled_from([1, 2, 4, 8, 16]),
)
def test_the_bits_do_not_depend_on_the_number_of_tasks(parts, width):
    width = min(width, len(parts))
    tasks = [fold(parts[start : start + width]) for start in range(0, len(parts), width)]
    while len(tasks) > 1:
        tasks = [merge(*group) for group in groups(tasks)]
    assert tasks[0] == fold(parts)


def test_the_tree_is_balanced_rather_than_a_running_sum():
    parts = [np.float32(1), np.float32(2**24), np.float32(1), np.float32(-(2**24))]
    assert fold(parts) == (parts[0] + parts[1]) + (parts[2] + parts[3])
    assert fold(parts) != ((parts[0] + parts[1]) + parts[2]) + parts[3]


def test_few_parts_are_alive_at_a_time():
    alive = peak = 0

    class Part:
        def __add__(self, other):
            nonlocal alive
            alive -= 1
            return self

    def made():
        nonlocal alive, peak
        for _ in range(256):
            alive += 1
            peak = max(peak, alive)
            yield Part()

    fold(made())
    assert peak <= 9  # log2(256) + 1


def test_a_run_that_is_no_subtree_is_a_mistake_of_ours():
    with pytest.raises(AssertionError, match="power of two"):
        fold([1, 2, 3])
