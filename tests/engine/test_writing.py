"""Writing passes that are broken off, and go on where they were."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from dask_em.engine.done import Done
from dask_em.engine.ledger import Ledger, Stage
from dask_em.engine.monitor import Monitor
from dask_em.engine.plan import KEPT_TASK_BYTES, MOST_KEPT_TASKS, Plan, Resources
from dask_em.engine.query import LogDensity
from dask_em.engine.specification import answers_specification
from dask_em.engine.stream import Tally
from dask_em.engine.writing import Output, write
from dask_em.errors import ArchiveError, ChunkError, InputError
from dask_em.place import LocalPlace, parse_place
from tests.engine.sources import MadeSource, Script
from tests.engine.test_predict import MIXTURE, ROWS, prediction

SIZE = 50  # rows of a chunk
N_CHUNKS = len(ROWS) // SIZE


class Memory(Output):
    """An output that stays in this process's memory, and knows which chunks were written."""

    def __init__(self, last=None):
        self.found, self.chunks, self.last = np.full(len(ROWS), -7.0), [], last

    @contextmanager
    def writing(self):
        yield self.write

    def write(self, found, answers):
        if len(self.chunks) == self.last:
            raise OSError("the disk is full (scripted)")
        self.chunks.append(found.index)
        self.found[found.region] = answers[0]


class Told(Monitor):
    def __init__(self):
        self.n_tasks, self.ended = [], 0

    def begin(self, kind, iteration, n_tasks):
        self.n_tasks.append(n_tasks)

    def advance(self):
        self.ended += 1


def source(**options):
    return MadeSource(ROWS, SIZE, local=True, **options)


def ledger_at(folder, rows=None, **options):
    rows = rows or source()
    asked = prediction(rows, LogDensity, **options)
    return Ledger.open(folder, answers_specification(asked, rows.fingerprint(), {}))


def run(folder, output, rows=None, monitor=None):
    rows, ledger = rows or source(), None if folder is None else ledger_at(folder)
    return write(rows, prediction(rows, LogDensity), output, monitor=monitor, ledger=ledger)


@pytest.fixture(autouse=True)
def _small_tasks_one_after_the_other(monkeypatch):
    import dask

    monkeypatch.setattr("dask_em.engine.plan.KEPT_TASK_BYTES", SIZE * ROWS.shape[1] * 8)
    with dask.config.set(scheduler="synchronous"):
        yield


def done_in(folder):
    return sorted(path.name for path in folder.glob("done-*"))


@pytest.mark.parametrize("last", [0, 1, 11, N_CHUNKS - 1])
def test_goes_on_at_the_task_that_was_not_done(last, tmp_path):
    plain, broken, resumed = Memory(), Memory(last), Memory()
    expected = run(None, plain)
    with pytest.raises(OSError, match="scripted"):
        run(tmp_path, broken)
    assert len(done_in(tmp_path)) == last  # tasks of one chunk
    resumed.found, told = broken.found, Told()
    assert run(tmp_path, resumed, monitor=told) == expected
    assert sorted(broken.chunks + resumed.chunks) == list(range(N_CHUNKS))
    np.testing.assert_array_equal(resumed.found, plain.found)
    assert told.n_tasks == [told.ended] == [32]


def test_what_is_written_costs_no_task(tmp_path):
    expected, told, again = run(tmp_path, Memory()), Told(), Memory()
    assert run(tmp_path, again, monitor=told) == expected
    assert not again.chunks
    assert told.n_tasks == [told.ended] == [32]
    ledger = ledger_at(tmp_path)
    assert ledger.stage is Stage.WRITTEN
    ledger.finish({})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.json"]
    assert ledger_at(tmp_path).tally == expected


@pytest.mark.parametrize(
    "late", [Ledger.mark, Ledger.forget, lambda ledger: ledger.written(Tally())]
)
def test_what_another_process_has_finished_stays_so(late, tmp_path):
    slow = ledger_at(tmp_path)
    slow.mark()
    slow.begin(32)
    run(tmp_path, Memory())
    ledger_at(tmp_path).finish({"labels": "stamp"})
    with pytest.raises(ArchiveError, match="another process has finished .*the same call again"):
        late(slow)
    there = ledger_at(tmp_path)
    assert (there.stage, there.stamps) == (Stage.WHOLE, {"labels": "stamp"})


def test_the_number_of_tasks_does_not_follow_the_machine(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="scripted"):
        run(tmp_path, Memory(3))
    monkeypatch.setattr("dask_em.engine.plan.KEPT_TASK_BYTES", 1 << 30)
    resumed = Memory()
    run(tmp_path, resumed)
    assert len(resumed.chunks) == N_CHUNKS - 3


def test_a_task_that_is_told_half_is_done_again(tmp_path):
    """Where files are not renamed, a kill may leave one."""
    broken, again = Memory(5), Memory()
    with pytest.raises(OSError, match="scripted"):
        run(tmp_path, broken)
    half = broken.chunks.pop()
    (tmp_path / f"done-{half:09d}.json").write_text('{"chunks": [[')
    run(tmp_path, again)
    assert sorted(broken.chunks + again.chunks) == list(range(N_CHUNKS))


def test_what_is_forgotten_is_done_again(tmp_path):
    with pytest.raises(OSError, match="scripted"):
        run(tmp_path, Memory(5))
    ledger_at(tmp_path).forget()
    again = Memory()
    run(tmp_path, again)
    assert sorted(again.chunks) == list(range(N_CHUNKS))


def test_a_task_that_is_done_is_not_run_again_on_a_worker(tmp_path):
    """Whoever asks for it, such as a cluster that lost its result."""
    ledger, rows = ledger_at(tmp_path), source()
    ledger.begin(32)
    tasks = Plan.make(rows, Resources(1, 1, None)).cut_into(32).partitions(rows)
    done = ledger.done
    assert done.among(tasks).count(None) == N_CHUNKS
    run(tmp_path, Memory())
    assert None not in done.among(tasks)
    leaves = next(leaves for leaves in tasks if leaves[0].chunks)
    told = json.loads((tmp_path / done_in(tmp_path)[0]).read_text())
    assert done.of(leaves).rows == told["tally"]["rows"] == SIZE
    # a file of a task that was cut otherwise does not count
    (tmp_path / done_in(tmp_path)[0]).write_text(json.dumps({**told, "chunks": [[0, 2]]}))
    assert done.of(leaves) is None


def test_what_a_killed_process_left_is_removed(tmp_path):
    run(tmp_path, Memory())
    for name in (".done-000000003.json.x.tmp", ".checkpoint.json.y.tmp"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".mine.tmp").write_text("")
    ledger_at(tmp_path).mark()
    assert [path.name for path in tmp_path.glob(".*")] == [".mine.tmp"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "drop"}, "missing is error there and drop here"),
        ({"on_bad_chunk": "skip"}, "on_bad_chunk is raise there and skip here"),
        ({"rows": MadeSource(ROWS[:600], SIZE, local=True)}, "the rows' rows is"),
    ],
)
def test_another_prediction_is_refused(options, message, tmp_path):
    ledger_at(tmp_path).mark()
    with pytest.raises(ArchiveError, match=f"that of another prediction: .*{message}.*nothing is"):
        ledger_at(tmp_path, **options)


def test_another_model_is_refused(tmp_path):
    ledger_at(tmp_path).mark()
    asked, rows = prediction(source(), LogDensity), source()
    weights = asked.parameters.weights[::-1]
    moved = replace(asked, parameters=replace(asked.parameters, weights=weights))
    with pytest.raises(ArchiveError, match=r"parameters.weights is .* there and"):
        Ledger.open(tmp_path, answers_specification(moved, rows.fingerprint(), {}))


def test_a_checkpoint_of_a_fit_is_refused(tmp_path):
    from dask_em.engine.fit import fit

    fit(MIXTURE, source(), checkpoint=tmp_path)
    with pytest.raises(ArchiveError, match="is not a checkpoint of a prediction; give a path"):
        ledger_at(tmp_path)


def test_other_folders_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveError, match="is a file, not a checkpoint"):
        ledger_at(tmp_path / "file")
    with pytest.raises(ArchiveError, match="it holds file; give a path where nothing is"):
        ledger_at(tmp_path)


def test_another_version_is_refused(tmp_path):
    ledger_at(tmp_path).mark()
    told = json.loads((tmp_path / "checkpoint.json").read_text())
    for version, message in (([9], "newer .* version 9, .* up to 1"), ([0], "older .* version 0")):
        (tmp_path / "checkpoint.json").write_text(json.dumps({**told, "version": version}))
        with pytest.raises(ArchiveError, match=message):
            ledger_at(tmp_path)


def test_a_model_that_does_not_tell_what_it_is_is_refused(tmp_path):
    class Custom:
        posterior = MIXTURE.posterior

    with pytest.raises(InputError, match="a Custom cannot be kept in a checkpoint"):
        ledger_at(tmp_path, model=Custom())


def test_a_worker_makes_no_checkpoint(tmp_path):
    rows = source()
    leaves = [rows.partition(range(3))]
    for place in (LocalPlace(tmp_path / "gone"), parse_place("memory://gone-checkpoint")):
        with pytest.raises(ArchiveError, match="not there on a worker.*all workers mount"):
            Done(place).keep(leaves, Tally())
        assert not place.exists()


def test_a_chunk_that_cannot_be_read_may_be_repaired(tmp_path):
    broken = Memory()
    with pytest.raises(ChunkError, match="chunk 7 cannot"):
        run(tmp_path, broken, source(script=Script(7, "fail")))
    resumed = Memory()
    run(tmp_path, resumed)
    assert sorted(broken.chunks + resumed.chunks) == list(range(N_CHUNKS))


@pytest.mark.parametrize(
    ("n_chunks", "nbytes", "expected"),
    [(1, 1 << 20, 1), (10, 1 << 20, 1), (100, 40 << 30, 128), (10**5, 1 << 40, 4096)],
)
def test_more_and_smaller_tasks(n_chunks, nbytes, expected, monkeypatch):
    monkeypatch.setattr("dask_em.engine.plan.KEPT_TASK_BYTES", KEPT_TASK_BYTES)
    schema = replace(source().schema, n_chunks=n_chunks)
    assert Plan(1, 1, 0, 0, nbytes).n_kept_tasks(schema) == expected <= MOST_KEPT_TASKS
    assert Plan(32, 32, 0, 0, nbytes).n_kept_tasks(schema) == max(32, expected)


def test_finer_tasks_are_all_chunks_in_order():
    rows = source()
    tasks = Plan.make(rows, Resources(1, 1, None)).cut_into(32).partitions(rows)
    assert [i for leaves in tasks for leaf in leaves for i in leaf.chunks] == list(range(N_CHUNKS))
    assert max(len(leaf.chunks) for leaves in tasks for leaf in leaves) == 1
