"""What is done ahead keeps its order, its bounds and its errors."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import replace
from threading import Barrier, Event, Lock
from threading import enumerate as enumerate_threads
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dask_em.engine.ahead import MOST_READS, ahead, at_once, behind, remote_reads
from dask_em.engine.plan import Plan, Resources
from dask_em.engine.readable import readable_ahead
from dask_em.engine.stream import Reading, fold_leaves, stream
from dask_em.engine.writing import write
from tests.engine.sources import MadeSource, Script


def slow(number: int, begun: list[int]) -> int:
    begun.append(number)
    time.sleep(0.02 / (1 + number))  # later ones are done sooner
    return number


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_calls_at_once_come_in_order(n: int) -> None:
    begun: list[int] = []
    calls = [lambda i=i: slow(i, begun) for i in range(20)]
    assert list(at_once(calls, n)) == list(range(20))


def test_so_many_calls_are_under_way_and_no_more() -> None:
    together, begun, lock = Barrier(3, timeout=10), [], Lock()

    def call(number: int) -> int:
        with lock:
            begun.append(number)
        if number < 3:
            together.wait()
        return number

    calls = at_once([lambda i=i: call(i) for i in range(9)], 3)
    assert next(calls) == 0  # all three met
    time.sleep(0.05)
    assert sorted(begun) == [0, 1, 2]
    calls.close()
    assert len(begun) <= 3


def test_what_a_call_raises_comes_in_its_turn_and_the_rest_is_left() -> None:
    done: list[int] = []

    def call(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        done.append(number)
        return number

    found = []
    with pytest.raises(ValueError, match="two"):
        found.extend(iter(at_once([lambda i=i: call(i) for i in range(100)], 4)))
    assert max(done) < 10


def test_closing_ends_what_lies_below() -> None:
    closed = Event()

    def items():
        try:
            yield from range(10)
        finally:
            closed.set()

    coming = ahead(items())
    assert next(coming) == 0
    coming.close()
    assert closed.is_set()


def test_writes_behind_are_all_made_and_bounded() -> None:
    lock, under_way, most, made = Lock(), [0], [0], []

    def write(number: int) -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.005)
        with lock:
            under_way[0] -= 1
            made.append(number)

    with behind() as make:
        for number in range(20):
            make(lambda i=number: write(i), 9 << 20)
    assert sorted(made) == list(range(20))
    assert most[0] == 1  # two would be 18 MB


def test_a_write_that_fails_is_told() -> None:
    def fail() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), behind() as make:
        make(fail, 1)


class Remote(MadeSource):
    reads_at_once = 5


@pytest.mark.parametrize("skip", [False, True])
def test_pieces_are_the_same_however_many_chunks_are_read_at_a_time(skip: bool) -> None:
    rows = np.random.default_rng(0).normal(size=(5000, 3))
    script = Script(7, "fail") if skip else None
    found = []
    for kind in (MadeSource, Remote):
        source = kind(rows, 37, seconds=0.0005, script=script)
        plan = Plan.make(source, Resources(2, 2, None))
        assert plan.reads_at_once == kind.reads_at_once
        reading = Reading(source.schema, on_bad_chunk="skip", with_positions=True)
        pieces = [piece for task in plan.partitions(source) for piece in stream(task, reading)]
        found.append([(n, p.name, p.block.values.tobytes()) for n, p in pieces])
        tallies = [piece.tally for _, piece in pieces]
        assert sum(tally.bad_chunks for tally in tallies) == skip
    assert found[0] == found[1]


def test_answers_are_read_in_order_too() -> None:
    source = Remote(np.arange(400.0)[:, None], 7, seconds=0.0005)
    (task,) = Plan.make(source, Resources(1, 1, None)).partitions(source)
    found = [each.chunks[0].index for each in readable_ahead(task, Reading(source.schema))]
    assert found == list(range(source.schema.n_chunks))


def test_reads_side_by_side_are_not_counted_twice() -> None:
    source = Remote(np.zeros((2000, 1)), 100, seconds=0.02)
    leaves = [source.partition(range(20))]
    object.__setattr__(leaves[0], "reads_at_once", 5)
    begin = time.perf_counter()
    total = sum(p.tally.read_seconds for _, p in stream(leaves, Reading(source.schema)))
    assert total <= time.perf_counter() - begin


def test_where_memory_is_short_fewer_chunks_are_read_at_a_time() -> None:
    source = Remote(np.broadcast_to(np.float64(1), (8 << 19, 16)), 1 << 16)  # 8 MB a chunk
    plans = [Plan.make(source, Resources(2, 2, memory)) for memory in (None, 2 << 30, 600 << 20)]
    reads = [plan.reads_at_once for plan in plans]
    assert reads[0] == 5
    assert reads == sorted(reads, reverse=True)
    assert reads[-1] == 1
    assert [plan.task_bytes for plan in plans] == sorted(
        (plan.task_bytes for plan in plans), reverse=True
    )
    for plan in plans:
        (leaf, *_), *_ = plan.partitions(source)
        assert leaf.reads_at_once == plan.reads_at_once


def test_small_chunks_are_asked_for_in_numbers_and_large_ones_alone() -> None:
    assert remote_reads(1) == MOST_READS
    assert 1 < remote_reads(16 << 20) < MOST_READS
    assert remote_reads(1 << 30) == 1


def threads() -> set[str]:
    return {one.name for one in enumerate_threads() if one.name.startswith("em-")}


@pytest.mark.parametrize("end", ["all", "close", "raise", "forget"])
def test_no_thread_is_left(end: str) -> None:
    source = Remote(np.arange(400.0)[:, None], 7)
    (task,) = Plan.make(source, Resources(1, 1, None)).partitions(source)
    for _ in range(20):
        pieces = stream(task, Reading(source.schema))
        if end == "all":
            assert sum(len(piece.block) for _, piece in pieces) == 400
        else:
            next(pieces)
            assert threads()
        if end == "close":
            pieces.close()
        elif end == "raise":
            with pytest.raises(KeyboardInterrupt):
                pieces.throw(KeyboardInterrupt)
        del pieces
        assert not threads()


def test_an_error_that_nobody_takes_is_not_raised_elsewhere() -> None:
    failed = Event()

    def fail() -> int:
        failed.set()
        raise ValueError("for nobody")

    calls = at_once([lambda: 0, fail, lambda: 2], 2)
    assert next(calls) == 0
    assert failed.wait(10)
    calls.close()
    assert list(at_once([lambda: 1], 2)) == [1]


def test_a_body_that_fails_ends_the_writing_and_its_error_is_the_one_that_is_told() -> None:
    def fail() -> None:
        raise OSError("full")

    def write() -> None:
        with behind() as make:
            make(fail, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not threads()


def test_no_thread_is_left_where_the_work_fails_and_the_error_is_kept() -> None:
    source = Remote(np.arange(4000.0)[:, None], 7)
    (task,) = Plan.make(source, Resources(1, 1, None)).partitions(source)

    asked: Any = SimpleNamespace(reading=Reading(source.schema), answers=lambda found: ())

    def tasks(source: Any, plan: Plan) -> Any:
        return replace(plan, n_tasks=1).partitions(source)

    def fail(*_: object) -> Any:
        raise ValueError("the work")

    with pytest.raises(ValueError, match="the work") as kept:
        fold_leaves(task, Reading(source.schema), fail, lambda: False)
    assert not threads(), kept  # whose frames hold all that is not closed
    with pytest.raises(ValueError, match="the work") as kept:
        write(source, asked, SimpleNamespace(writing=lambda: nullcontext(fail), partitions=tasks))
    assert not threads(), kept


def test_ctrl_c_while_the_second_thread_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, entered = Event(), Event()

    def items() -> Generator[int, None, None]:
        yield 0
        entered.set()
        wanted.wait(10)
        yield 1

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    found = ahead(items())
    assert next(found) == 0
    assert entered.wait(10)
    with monkeypatch.context() as patch:
        patch.setattr("concurrent.futures.thread.ThreadPoolExecutor.shutdown", interrupted)
        with pytest.raises(KeyboardInterrupt):
            found.close()
    wanted.set()
