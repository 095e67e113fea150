"""Chunks that are kept are read once, change no bit, stay within their bytes, and are freed."""

from __future__ import annotations

import gc
import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_em import ChunkError, Gaussian, InputError, Mixture, PlanError
from dask_em.core.block import Block, Missing
from dask_em.engine import cache as caching
from dask_em.engine.cache import CHUNK_BYTES, PAGES_BYTES, Cache, hold
from dask_em.engine.homes import housed
from dask_em.engine.monitor import Monitor
from dask_em.engine.plan import BASELINE, Plan, Resources
from dask_em.engine.room import parse_cache
from dask_em.engine.runner import LocalRunner
from dask_em.engine.source import Chunk
from dask_em.engine.stream import Reading, Tally, fold_leaves, stream
from dask_em.models.seeding import KMeans
from dask_em.sources.arrays import NumpySource
from tests.engine.sources import MadeSource, Script, clusters

ROWS = clusters(6400)
MIXTURE = Mixture(Gaussian(), 3, KMeans())
START = MIXTURE.initialize(Block(ROWS[:500]), np.random.default_rng(0))


@dataclass(frozen=True)
class Found:
    """Statistics, and what they cost."""

    statistics: Any
    tally: Tally

    def __add__(self, other):
        return Found(self.statistics + other.statistics, self.tally + other.tally)


def expect(leaves, reading, stopped):
    def part(piece):
        return Found(MIXTURE.expect(piece.block, START), piece.tally)

    return fold_leaves(leaves, reading, part, stopped)


def passes(runner, source, reading, n):
    """What each of n E-steps with the same parameters finds."""
    partitions = Plan.make(source, runner.resources).partitions(source)
    return [runner.reduce("em-expect", expect, partitions, reading, Monitor()) for _ in range(n)]


def bytes_for(source, share):
    """Of a cache in one process that holds a share of the chunks."""
    n_chunks = round(share * source.schema.n_chunks)
    return n_chunks * (source.schema.chunk_bytes + CHUNK_BYTES)


def nobody_holds_anything():
    gc.collect()
    return not caching._held


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_bits_do_not_change_and_what_fits_is_read_once(share, monkeypatch):
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: 4)
    source, runner = MadeSource(ROWS, 50), LocalRunner(2)
    (plain,) = passes(runner, source, Reading(source.schema), 1)
    cache = Cache("some", bytes_for(source, share))
    with runner.keeping(cache):
        first, *later = passes(runner, source, Reading(source.schema, cache=cache), 3)
    assert first.statistics.equals(plain.statistics)
    assert first.tally.nbytes == source.schema.nbytes
    assert first.tally.cached_bytes == 0
    for summed in later:
        assert summed.statistics.equals(plain.statistics)
        assert summed.tally.rows == plain.tally.rows
        assert summed.tally.block_bytes == source.schema.nbytes
        expected = round(share * source.schema.n_chunks) * source.schema.chunk_bytes
        assert summed.tally.cached_bytes == expected
    assert nobody_holds_anything()


@pytest.mark.parametrize("n_kept", [0, 1, 7, 20])
def test_small_chunks_are_gathered_as_without_a_cache(n_kept, monkeypatch):
    source = MadeSource(ROWS[:1000], 50)
    monkeypatch.setattr("dask_em.engine.stream.BLOCK_BYTES", 3 * source.schema.chunk_bytes)
    leaves = [source.partition(range(20))]
    plain = [piece.name for _, piece in stream(leaves, Reading(source.schema))]
    assert len(plain) == 7
    cache = Cache("gathered", bytes_for(source, n_kept / 20))
    reading = Reading(source.schema, cache=cache)
    with LocalRunner(1).keeping(cache):
        for kept in (0, n_kept):
            pieces = [piece for _, piece in stream(leaves, reading)]
            assert [piece.name for piece in pieces] == plain
            cached = sum(piece.tally.cached_bytes for piece in pieces)
            assert cached == kept * source.schema.chunk_bytes


def test_chunks_are_kept_as_read_whatever_enters_a_block():
    rows = ROWS.copy()
    rows[::7, 1] = np.nan
    source = MadeSource(rows, 50)
    leaves = [source.partition(range(source.schema.n_chunks))]
    cache = Cache("as read", 1 << 30)
    first = Reading(source.schema, Missing("drop"), with_positions=True, cache=cache)
    pins = hold(cache)
    ((_, piece),) = stream(leaves, first)
    ((_, again),) = stream(leaves, first)
    ((_, other),) = stream(leaves, Reading(source.schema, None, cache=cache))
    assert pins.pinned_bytes
    assert again.tally.cached_bytes == other.tally.cached_bytes == rows.nbytes
    np.testing.assert_array_equal(again.block.values, rows[np.isfinite(rows).all(axis=1)])
    np.testing.assert_array_equal(again.positions, piece.positions)
    np.testing.assert_array_equal(other.block.values, rows)


@pytest.mark.parametrize("n", [10, PAGES_BYTES // 8, PAGES_BYTES // 4])
def test_a_kept_chunk_owns_its_memory_and_cannot_be_written_to(n):
    large = np.arange(4.0 * n, dtype=np.float32).reshape(-1, 2)
    weights = np.ones(len(large))
    cache = Cache("own", 1 << 30)
    with LocalRunner().keeping(cache):
        cache.keep(Chunk(3, "chunk 3", Block(large[:n], weights[:n]), (slice(0, n),)))
        large[:] = -1
        weights[:] = -1
        kept = cache.find(3)
        assert kept.block.values.dtype == np.float32
        np.testing.assert_array_equal(kept.block.values.ravel(), np.arange(2 * n))
        np.testing.assert_array_equal(kept.block.weights, 1)
        assert kept.region == (slice(0, n),)
        with pytest.raises(ValueError, match="read-only"):
            kept.block.values[0] = 0
    assert cache.find(3) is None


def test_fits_side_by_side_share_the_memory():
    one, other = Cache("one", 100_000), Cache("other", 100_000)
    chunk = [Chunk(i, "", Block(np.zeros((1000, 5))), None) for i in range(4)]
    pins = [hold(one), hold(other)]
    one.keep(chunk[0])
    other.keep(chunk[1])
    one.keep(chunk[2])
    assert [one.find(0) is None, other.find(1) is None, one.find(2) is None] == [False, False, True]
    del pins[1]
    gc.collect()
    one.keep(chunk[2])
    assert one.find(2) is not None
    assert pins[0].pinned_bytes <= one.nbytes


def test_without_anybody_to_hold_it_nothing_is_kept():
    cache = Cache("nobody's", 1 << 20)
    cache.keep(Chunk(0, "", Block(np.zeros((10, 2))), None))
    assert cache.find(0) is None


def test_pins_that_are_written_to_disk_or_sent_leave_the_chunks_behind():
    cache = Cache("moved", 1 << 30)
    pins = hold(cache)
    cache.keep(Chunk(0, "", Block(np.zeros((100_000, 2))), None))
    assert cache.find(0) is not None
    written = pickle.dumps(pins)
    assert len(written) < 1000
    del pins
    moved = pickle.loads(written)
    assert moved.find(0) is None
    assert cache.find(0) is None


def test_rows_in_memory_are_not_kept():
    source, cache = NumpySource(ROWS), Cache("resident", 1 << 30)
    pins = hold(cache)
    passes(LocalRunner(), source, Reading(source.schema, cache=cache), 2)
    assert pins.pinned_bytes == 0


def test_what_cannot_be_read_is_tried_again(tmp_path):
    source = MadeSource(ROWS, 50, script=Script(70, "fail", tmp_path / "failed"))
    cache, runner = Cache("bad", 1 << 30), LocalRunner(1)
    with runner.keeping(cache):
        skipping = Reading(source.schema, on_bad_chunk="skip", cache=cache)
        first, second, third = passes(runner, source, skipping, 3)
    assert [summed.tally.bad_chunks for summed in (first, second, third)] == [1, 0, 0]
    assert second.tally.nbytes == source.schema.chunk_bytes
    assert third.tally.nbytes == 0


def test_a_fit_that_fails_frees_its_chunks():
    source = MadeSource(ROWS, 50, script=Script(70, "fail"))
    cache, runner = Cache("failing", 1 << 30), LocalRunner(1)
    with pytest.raises(ChunkError), runner.keeping(cache):
        passes(runner, source, Reading(source.schema, cache=cache), 1)
    assert nobody_holds_anything()


def made(value, memory=2_000_000_000, local=False):
    source = MadeSource(np.zeros((4000, 2), np.float32), 1000)
    plan = replace(Plan.make(source, Resources(2, 1, None)), worker_bytes=100_000_000)
    return parse_cache(value, plan, Resources(2, 1, memory), local)


def test_off_is_nothing_and_auto_is_what_the_promise_leaves():
    assert made("off") is None
    assert made(0) is None
    assert made(12_345_678).nbytes == 12_345_678
    assert made(np.int64(10)).nbytes == 10
    assert made("auto").nbytes == 0.6 * 2e9 - 100e6 - BASELINE
    assert made("auto", memory=400_000_000) is None
    assert made("auto", memory=None) is None
    assert made(10**12, memory=None).nbytes == 10**12
    assert made("auto", local=True).nbytes > 1e6
    assert made("auto").token != made("auto").token


def test_a_container_has_less_than_its_machine(monkeypatch, tmp_path):
    here = made("auto", local=True).nbytes
    (tmp_path / "memory.max").write_text("max\n")
    limits = (str(tmp_path / "memory.max"), str(tmp_path / "not there"))
    monkeypatch.setattr("dask_em.engine.room.CGROUP_LIMITS", limits)
    assert made("auto", local=True).nbytes > here / 2
    (tmp_path / "memory.max").write_text("1000\n")
    assert made("auto", local=True) is None


@pytest.mark.parametrize("value", ["on", "2GB", -1, True, None, 1.5, [1]])
def test_other_values_are_refused(value):
    with pytest.raises(InputError, match=r'cache=.*"auto", "off", or how many bytes'):
        made(value)


def test_more_than_a_worker_has_is_refused_with_what_would_do():
    with pytest.raises(PlanError, match=r"asks for 1.5 GB .* has 850 MB .*give each worker 3.08"):
        made(1_500_000_000)
    made(1_500_000_000, memory=3_100_000_000)
    with pytest.raises(PlanError, match="to spare"):
        made(10**15, memory=None, local=True)


ADDRESSES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 4), min_size=1)


@given(st.sampled_from([1, 2, 8, 16, 32]), ADDRESSES, ADDRESSES)
def test_tasks_move_only_from_workers_that_are_lost_or_have_too_many(n_tasks, before, now):
    old = housed([], before, n_tasks)
    new = housed(old, now, n_tasks)
    assert len(new) == n_tasks
    assert set(new) <= set(now)
    fair = {address: -(-n_tasks * threads // sum(now.values())) for address, threads in now.items()}
    for address in now:
        mine = [i for i in range(n_tasks) if old[i] == address]
        assert [new[i] for i in mine[: fair[address]]] == [address] * len(mine[: fair[address]])
        # no thread waits for another's tasks longer than it must
        assert new.count(address) <= max(1, fair[address] + now[address])
    assert housed(new, now, n_tasks) == new


def test_tasks_of_neighbours_have_one_home():
    assert housed([], {"b": 1, "a": 1}, 8) == [*"aaaabbbb"]
    assert housed([], {"a": 3, "b": 1}, 8) == [*"aaaaaabb"]
    assert housed([*"aaaabbbb"], {"c": 1, "a": 1}, 8) == [*"aaaacccc"]
    assert housed([*"aaaabbbb"], {"a": 1, "b": 1, "c": 2}, 8) == [*"aaccbbcc"]
    assert housed([*"aabb"], {}, 4) == []
