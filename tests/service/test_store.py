"""The store: whole files that people can read, on disks and in buckets."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from dask_em.errors import ArchiveError
from dask_em.service.job import Commit, Job, State
from dask_em.service.store import JobStore
from tests.service.office import one_pass, service, spec

JOB = Job("ab12", 3, owner="ada", state=State.running, epoch=2, run=9, submitted=5.0)


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    if request.param == "folder":
        return JobStore(str(tmp_path))
    found = request.getfixturevalue("bucket")
    return JobStore(found.url("em"), found.options)


def test_what_is_kept_comes_back(store):
    assert store.load() == ([], [])
    job = replace(JOB, checkpoint=Commit(2, 9, 17), error="it was lost")
    store.add(job, spec(), "a key")
    store.write_lines(job.id, "trace.jsonl", [{"number": 1}, {"number": 2}])
    (found,), faults = JobStore(store.url, store.options).load()
    assert faults == []
    assert (found.job, found.spec, found.key) == (job, spec(), "a key")
    assert found.trace == [{"number": 1}, {"number": 2}]
    assert found.log == []
    store.save(replace(job, state=State.done), "a key")
    assert store.load()[0][0].job.state is State.done
    store.forget(job.id)
    assert store.load() == ([], [])
    store.forget(job.id)


def test_only_checkpoints_of_earlier_drivers_are_forgotten(store):
    for name in ("1.4", "2.8", "2.9", "10.1"):
        store._files.make_folder(f"jobs/ab12/checkpoints/{name}")
        store._files.write(f"jobs/ab12/checkpoints/{name}/checkpoint.json", b"{}")
    store.forget_checkpoints("ab12", before="2.9")
    assert sorted(store._below("jobs/ab12/checkpoints").names()) == ["10.1", "2.9"]
    store.forget_checkpoints("ab12")
    assert not store._files.exists("jobs/ab12/checkpoints/2.9/checkpoint.json")
    store.forget_checkpoints("ab12")


def test_who_serves_it(store):
    assert store.claim({"id": "a"}) is None
    assert store.claim({"id": "b"}) == {"id": "a"}
    store.unclaim("a")
    assert store.claimed() == {"id": "b"}
    store.unclaim("b")
    assert store.claimed() is None


WRONG = {
    "half-written": b'{"format": "dask_em job", "vers',
    "empty": b"",
    "no object": b"[1, 2]",
    "something else": b'{"hello": 1}',
    "unknown state": json.dumps(
        {"format": "dask_em job", "version": 1, "id": "bad", "order": 1, "state": "sleeping"}
    ).encode(),
    "another job's": json.dumps(
        {"format": "dask_em job", "version": 1, "id": "worse", "order": 1}
    ).encode(),
    "a key that is no text": json.dumps(
        {"format": "dask_em job", "version": 1, "key": ["k"], "id": "bad", "order": 1}
    ).encode(),
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_record_that_cannot_be_read_is_set_aside_and_named(tmp_path, wrong):
    store = JobStore(str(tmp_path))
    store.add(JOB, spec(), None)
    store.add(replace(JOB, id="bad"), spec(), None)
    (tmp_path / "jobs/bad/record.json").write_bytes(wrong)
    found, (fault,) = store.load()
    assert [one.job.id for one in found] == ["ab12"]
    assert "job bad in " in fault
    assert "its record is now unreadable-record.json" in fault
    assert (tmp_path / "jobs/bad/unreadable-record.json").read_bytes() == wrong
    assert (tmp_path / "jobs/bad/spec.json").exists()  # nothing is lost
    _, (fault,) = store.load()
    assert "its record.json is not there: submit its spec.json again" in fault


def test_a_specification_that_cannot_be_read_is_named(tmp_path):
    store = JobStore(str(tmp_path))
    for name, text in (("ab12", spec()), ("cd34", "{"), ("ef56", "gone")):
        store.add(replace(JOB, id=name), text, None)
    (tmp_path / "jobs/ef56/spec.json").unlink()

    async def start():
        async with service(tmp_path) as em:
            assert [one.id for one in em.jobs()] == ["ab12"]
            assert len(em.faults) == 2
            assert "cd34" in em.faults[1]
            assert "ef56" in em.faults[0]

    asyncio.run(start())


def test_half_a_line_is_passed_over(tmp_path):
    store = JobStore(str(tmp_path))
    store.add(JOB, spec(), None)
    (tmp_path / "jobs/ab12/log.jsonl").write_text('{"text": "a"}\n{"text": "b')
    assert store.load()[0][0].log == [{"text": "a"}]


def test_lines_that_somebody_spoiled_decide_nothing(tmp_path):
    store = JobStore(str(tmp_path))
    store.add(replace(JOB, state=State.queued, checkpoint=Commit(2, 9, 3)), spec(), None)
    whole = [one_pass(number) for number in (1, 2, 3, 4)]
    wrong = [{**whole[1], "number": "two"}, {**whole[1], "notes": None}, {**whole[1], "rows": []}]
    trace = [whole[0], 7, [], {"a": 1}, *wrong, whole[1], whole[0], whole[2], whole[3]]
    store.write_lines(JOB.id, "trace.jsonl", trace)
    line = {"time": 1.0, "level": "info", "text": "a"}
    mark = {**line, "mark": "lost", "passes": 1}
    log = [line, 7, {**line, "time": "now"}, {**line, "text": None}, {"text": "b"}]
    store.write_lines(JOB.id, "log.jsonl", [*log, mark, {**mark, "passes": None}])

    async def start():
        async with service(tmp_path) as em:
            assert [one.number for one in em.trace(JOB.id)] == [1, 2, 3]  # the fourth never counted
            assert [one.told() for one in em.marks(JOB.id)] == [
                {"kind": "lost", "number": 1, "at": 1.0, "text": "a"}
            ]
            assert [one["text"] for one in await em.logs(JOB.id)] == ["a"] * 3

    asyncio.run(start())


def test_a_newer_store_is_not_touched(tmp_path):
    store = JobStore(str(tmp_path))
    store.add(JOB, spec(), None)
    path = tmp_path / "jobs/ab12/record.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 99'))
    before = path.read_bytes()
    with pytest.raises(ArchiveError, match="was written by a newer dask_em"):
        store.load()
    assert path.read_bytes() == before


@pytest.mark.parametrize("error", [OSError(39, "Directory not empty"), FileNotFoundError()])
def test_what_somebody_still_writes_to_is_forgotten_all_the_same(tmp_path, monkeypatch, error):
    store = JobStore(str(tmp_path))
    store.add(JOB, spec(), None)
    remove, tries = type(store._files).remove, []

    def busy(files, name=""):
        tries.append(name)
        if len(tries) == 1:
            raise error
        remove(files, name)

    monkeypatch.setattr(type(store._files), "remove", busy)
    store.forget(JOB.id)
    assert len(tries) == 2
    assert store.load() == ([], [])


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    store = JobStore(str(tmp_path))
    store.add(JOB, spec(), None)
    for name, what in (("bad", "record.json"), ("worse", "spec.json"), ("odd", "trace.jsonl")):
        store.add(replace(JOB, id=name), spec(), None)
        path = tmp_path / "jobs" / name / what
        path.unlink(missing_ok=True)
        path.mkdir()
    found, faults = store.load()
    assert [one.job.id for one in found] == ["ab12"]
    assert len(faults) == 3
    assert all("there is a folder where a file is to be" in fault for fault in faults)
