"""Boxes that dask reads: found where there is nothing else, and only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Alias
from dask.highlevelgraph import HighLevelGraph
from hypothesis import given
from hypothesis import strategies as st

from dask_em.sources.xarray.sliced import cut_of


class Stored:
    """An array that is no NumPy array, so that dask does not cut it when it is wrapped."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype, self.ndim = values, values.shape, values.dtype, 2

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.values[key]


VALUES = np.arange(20 * 9.0).reshape(20, 9)


def read(chunks: tuple[int, int] = (3, 4)) -> Any:
    return da.from_array(Stored(VALUES), chunks=chunks)


slices = st.builds(slice, *(st.one_of(st.none(), st.integers(-22, 22)) for _ in range(2)))
steps = st.builds(
    slice,
    *(st.one_of(st.none(), st.integers(-22, 22)) for _ in range(2)),
    st.sampled_from([None, 1, 1, 2, -1]),
)


@given(st.integers(1, 7), st.integers(1, 9), st.lists(st.tuples(steps, slices), max_size=3))
def test_what_is_found_is_what_dask_computes(n: int, d: int, keys: list[Any]) -> None:
    array = read((n, d))
    for key in keys:
        array = array[key]
    cut = cut_of(array)
    if cut is None:
        plain = all(key[0].step in (None, 1) for key in keys)
        assert not plain or 0 in array.shape
        return
    assert isinstance(cut.array, Stored)
    assert np.array_equal(VALUES[cut.box], array.compute(scheduler="sync"))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + 1,
        lambda x: x.T,
        lambda x: x[::-1],
        lambda x: x[2],
        lambda x: x[[0, 1, 2]],
        lambda x: x.rechunk(5),
        lambda x: da.concatenate([x, x]),
        lambda x: da.concatenate([x[6:9], x[:3]]),
        lambda x: da.roll(x, 3, axis=0),
        lambda x: x.map_blocks(np.sqrt),
        lambda x: da.where(x > 3, x, np.nan),
        lambda x: x[:0],
        lambda x: da.broadcast_to(x, (2, 20, 9)),
        lambda _: da.zeros((4, 4), chunks=2),
        lambda _: da.from_array(VALUES, chunks=3),
    ],
)
def test_whatever_is_more_than_a_box_is_no_cut(change: Callable[[Any], Any]) -> None:
    assert cut_of(change(read())) is None


def test_blocks_that_changed_places_are_no_cut() -> None:
    array = read((5, 9))
    turned = da.concatenate([array[10:], array[:10]])
    # nothing but other names for blocks
    pairs = {(turned.name, i, 0): (array.name, (i + 2) % 4, 0) for i in range(4)}
    graph = {key: Alias(key, block) for key, block in pairs.items()}
    layers = HighLevelGraph.from_collections(turned.name, graph, dependencies=[array])
    swapped = da.Array(layers, turned.name, array.chunks, dtype=array.dtype)
    assert np.array_equal(swapped.compute(scheduler="sync"), np.roll(VALUES, -10, axis=0))
    assert cut_of(swapped) is None
