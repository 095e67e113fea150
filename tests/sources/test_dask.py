"""What is particular to dask arrays: shared work, small partitions, broken promises, a cluster."""

from __future__ import annotations

from typing import Any

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, wait

from dask_em.engine.source import Chunk
from dask_em.errors import ChunkError, DataError, SchemaError
from dask_em.sources.dask import DaskSource
from tests.sources.cases import ROWS

SHARED = "share upstream tasks.*persist"


def lazily(chunks: Any = (10, 3)) -> Any:
    """Rows made by tasks, so that they are not data in the graph."""
    return da.from_array(ROWS, chunks=chunks).map_blocks(np.negative, dtype=float) * -1


def read(source: DaskSource) -> list[Chunk]:
    partition = source.partition(range(source.schema.n_chunks))
    return list(map(partition.open(), partition.chunks))


def values(source: DaskSource) -> np.ndarray:
    return np.concatenate([chunk.block.values for chunk in read(source)])


def explode(block: np.ndarray) -> np.ndarray:
    if block.size and block[0, 0] == 0:
        raise ValueError("no such thing")
    return block


def shared_arrays() -> dict[str, Any]:
    array = da.from_array(np.abs(ROWS), chunks=(10, 3)).map_blocks(np.sqrt, dtype=float)
    opened = dask.delayed(np.array)(ROWS)
    parts = [da.from_delayed(opened[i * 10 : i * 10 + 10], (10, 3), dtype=float) for i in range(5)]
    return {
        "rechunk": array.rechunk((4, 3)),
        "overlap": da.overlap.overlap(array, depth=1, boundary="none").map_blocks(np.copy),
        "centred": array - array.mean(axis=0),
        "opened": da.concatenate(parts),
    }


@pytest.mark.parametrize("name", shared_arrays())
def test_shared_work_is_seen_and_said_and_still_right(name: str) -> None:
    array = shared_arrays()[name]
    with pytest.warns(UserWarning, match=SHARED):
        source = DaskSource(array)
    assert source.shares_work
    found = values(source)
    assert found.tobytes() == array.compute(scheduler="sync").tobytes()
    graph, keys = source.shared_graph()
    parts = dask.get(dict(graph), keys)
    assert np.array_equal(np.concatenate([part for (part,) in parts]), found)


def test_what_chunks_only_refer_to_is_not_shared_work(tmp_path: Any) -> None:
    import zarr

    stored = zarr.create_array(tmp_path / "x.zarr", data=ROWS, chunks=(10, 3))
    in_memory = da.from_array(ROWS, chunks=(10, 3))
    arrays = [
        lazily(),
        lazily((10, 1)),
        da.from_zarr(stored),
        in_memory,
        in_memory - np.arange(3),
        in_memory.rechunk((50, 3)),
        shared_arrays()["rechunk"].persist(scheduler="sync"),
        da.from_array(ROWS, chunks=(10, 3), lock=True),
    ]
    assert [DaskSource(array).shares_work for array in arrays] == [False] * len(arrays)


def test_partitions_carry_only_their_own_chunks() -> None:
    rows = np.random.default_rng(0).normal(size=(100_000, 4))
    source = DaskSource(da.from_array(rows, chunks=(1000, 4)) * 2)
    one = len(cloudpickle.dumps(source.partition(range(5, 6))))
    all_ = len(cloudpickle.dumps(source.partition(range(100))))
    assert one < 1000 * 4 * 8 + 4096
    assert all_ < rows.nbytes + 100 * 2048


def test_a_task_runs_once_per_read_and_only_for_its_chunk() -> None:
    seen = []

    def note(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info and block_info[0]:
            seen.append(block_info[0]["chunk-location"])
        return block

    array = da.from_array(ROWS, chunks=(20, 3)).map_blocks(note, dtype=float)
    seen.clear()
    read_chunk = DaskSource(array).partition(range(1, 4)).open()
    assert seen == []
    read_chunk(2)
    assert seen == [(2, 0)]


def test_a_progress_bar_does_not_see_the_tasks_inside_a_chunk() -> None:
    from dask.callbacks import Callback

    started = []
    with Callback(start=started.append):
        read(DaskSource(lazily()))
    assert started == []


def test_a_failing_task_names_its_chunk() -> None:
    array = da.arange(40, chunks=10, dtype=float)[:, None].map_blocks(explode, dtype=float)
    read_chunk = DaskSource(array).partition(range(4)).open()
    with pytest.raises(ChunkError, match=r"chunk \(0,\) .*ValueError: no such thing.*on_bad_chunk"):
        read_chunk(0)
    assert len(read_chunk(1).block) == 10


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_is_not_the_chunks_fault_passes(error: type[BaseException]) -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise error

    array = da.from_array(ROWS, chunks=(10, 3)).map_blocks(fail, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(error):
        read(DaskSource(array))


def test_blocks_that_break_their_promise() -> None:
    array = da.from_array(ROWS, chunks=(10, 3))
    short = array.map_blocks(lambda b: b[:-1], dtype=float)
    with pytest.raises(SchemaError, match=r"shape \(9, 3\) where the array promises \(10, 3\)"):
        read(DaskSource(short))
    narrow = array[array[:, 0] > 0].map_blocks(lambda b: b[:, :2], dtype=float)
    with pytest.raises(SchemaError, match=r"promises \('\?', 3\)"):
        read(DaskSource(narrow))


def test_lazy_weights_are_checked_by_chunk() -> None:
    array = da.from_array(ROWS, chunks=(10, 3))
    weights = np.ones(101)
    weights[37] = -1
    weights[:10] = 0
    source = DaskSource(array, da.from_array(weights, chunks=10))
    read_chunk = source.partition(range(11)).open()
    assert read_chunk(0).block.mass == 0
    with pytest.raises(DataError, match=r"weights of chunk \(3,\).*the first is -1.0 at row 7"):
        read_chunk(3)


def test_weights_in_other_chunks_are_matched() -> None:
    weights = np.arange(101.0)
    source = DaskSource(lazily(), da.from_array(weights, chunks=25))
    found = np.concatenate([chunk.block.weights for chunk in read(source)])
    assert np.array_equal(found, weights)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DaskSource(da.ones(5)), "Reshape your data"),
        (lambda: DaskSource(da.ones((5, 0))), r"0 feature\(s\)"),
        (lambda: DaskSource(da.ones((5, 2), dtype=complex)), "Complex data not supported"),
        (lambda: DaskSource(da.ones((5, 2)).astype(str)), "dtype <U32.*astype"),
        (lambda: DaskSource(da.ones((5, 9))[:, da.arange(9) > 2]), "feature axis.*unknown length"),
        (lambda: DaskSource(lazily(), da.ones(100)), r"shape \(100,\).*expected \(101,\)"),
        (lambda: DaskSource(lazily(), np.ones(7)), r"shape \(7,\), expected \(101,\)"),
        (lambda: DaskSource(lazily(), da.ones(101).astype(str)), "the weights has dtype"),
        (lambda: DaskSource(lazily()[da.ones(101) > 0], np.ones(101)), "compute_chunk_sizes"),
    ],
)
def test_wrong_arrays(make: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        make()


def test_many_chunks_stay_cheap() -> None:
    # each chunk's own graph, not the whole, is what a partition and a read walk through
    n = 5000
    array = da.ones((n, 2), chunks=(1, 2)).map_blocks(np.negative, dtype=float)
    source = DaskSource(array)
    sizes = [len(source.partition(range(i, i + 10)).graph) for i in range(0, n, 500)]
    assert max(sizes) <= 40


def test_blocks_persisted_on_a_cluster_are_fetched_by_the_task(client: Client) -> None:
    array = client.persist(lazily())
    # the one who fits does so too; a task that came first would wait for its turn to pass
    wait(array)
    source = DaskSource(array)
    assert not source.shares_work
    partition = source.partition(range(11))

    def total(partition: Any) -> float:
        return sum(chunk.block.values.sum() for chunk in map(partition.open(), partition.chunks))

    assert np.isclose(client.submit(total, partition).result(timeout=60), ROWS.sum())
