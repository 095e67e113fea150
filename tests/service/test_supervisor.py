"""The service: what it promises to those who submit, and to drivers. Without a cluster."""

from __future__ import annotations

import asyncio
import json
import threading
from functools import wraps

import pytest

from dask_em.errors import (
    AccessError,
    ClusterError,
    InputError,
    JobStateError,
    SourceError,
    UnknownJobError,
)
from dask_em.service import inspection
from tests.service.office import Drivers, one_pass, running, service, spec, until


def in_a_loop(test):
    @wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


@in_a_loop
async def test_a_job_is_run_to_its_end(tmp_path):
    async with service(tmp_path) as em:
        made = await em.submit(spec(owner="ada", tags={"cruise": "12"}))
        assert made.state == "queued"
        assert made.owner == "ada"
        epoch = await running(em, made.id)
        order = await em.desk.begin(made.id, epoch, 7, "tcp://w")
        assert order["checkpoint"] is None
        assert order["passes"] == 0
        answer = await em.desk.commit(made.id, epoch, 7, one_pass(1, -3.0), [0.5, 0.5])
        assert answer == {"counts": True}
        seen = em.job(made.id)
        assert (seen.passes, seen.objective, seen.weights) == (1, -3.0, (0.5, 0.5))
        assert seen.worker == "tcp://w"
        assert await em.desk.finish(made.id, epoch, 7, "converged") == {}
        assert em.job(made.id).state == "done"
        assert [line["text"] for line in await em.logs(made.id)][-1] == "converged"
        assert em.jobs(tag="cruise=12", state="done")[0].id == made.id
        assert em.jobs(tag="cruise=13") == em.jobs(owner="eve") == em.jobs(state="failed") == []


@in_a_loop
async def test_all_is_there_after_a_restart(tmp_path):
    drivers = Drivers()
    async with service(tmp_path, drivers, max_running=1) as em:
        first = await em.submit(spec(), idempotency_key="a")
        second = await em.submit(spec(owner="b"))
        epoch = await running(em, first.id)
        await em.desk.begin(first.id, epoch, 3, "tcp://w")
        await em.desk.commit(first.id, epoch, 3, one_pass(1), [])
    async with service(tmp_path, drivers, max_running=1) as em:
        assert (await em.submit(spec(), idempotency_key="a")).id == first.id
        assert await running(em, first.id) == epoch + 1
        assert em.job(second.id).state == "queued"
        assert em.job(second.id).position == 1
        assert [one.number for one in em.trace(first.id)] == [1]
        order = await em.desk.begin(first.id, epoch + 1, 1, "tcp://x")
        assert order["checkpoint"] == f"{epoch}.3"
        assert order["passes"] == 1
        assert [mark.kind for mark in em.marks(first.id)] == ["resumed"]


@in_a_loop
async def test_a_driver_whose_time_is_over_is_refused(tmp_path):
    drivers = Drivers()
    async with service(tmp_path, drivers) as em:
        job = (await em.submit(spec())).id
        epoch = await running(em, job)
        await em.desk.begin(job, epoch, 5, "tcp://w")
        await em.desk.begin(job, epoch, 6, "tcp://x")  # its worker died: it runs again
        for answer in (
            await em.desk.heard(job, epoch, 5, "pass 1", 0, 1),
            await em.desk.commit(job, epoch, 5, one_pass(1), []),
            await em.desk.finish(job, epoch, 5, "done"),
            await em.desk.fail(job, epoch, 5, "wrong", "", lost=False),
        ):
            assert "run 5 of driver 1 was replaced by run 6" in answer["refused"]
        drivers.lose(job, epoch)
        await until(lambda: em.job(job).epoch == 2)
        assert "driver 1 was replaced" in (await em.desk.begin(job, 1, 9, "tcp://w"))["refused"]
        assert em.trace(job) == []
        assert em.job(job).restarts == 2
        await em.cancel(job)
        assert "cancelled" in (await em.desk.commit(job, 2, 9, one_pass(1), []))["refused"]
        assert "cancelled" in (await em.desk.finish(job, 2, 9, "done"))["refused"]
        assert em.job(job).state == "cancelled"
        await until(lambda: (job, 2) in drivers.stopped)


@in_a_loop
async def test_losses_are_counted_and_bounded(tmp_path):
    drivers = Drivers()
    async with service(tmp_path, drivers, most_losses=2) as em:
        job = (await em.submit(spec())).id
        for epoch in (1, 2, 3):
            await until(lambda epoch=epoch: (job, epoch) in drivers.launched)
            drivers.lose(job, epoch)
        await until(lambda: em.job(job).state == "failed")
        assert "3 drivers in a row were lost" in em.job(job).error
        assert (await em.resume(job)).state == "queued"
        await until(lambda: (job, 4) in drivers.launched)


@in_a_loop
async def test_what_a_driver_fails_with_is_told_with_its_traceback(tmp_path):
    drivers = Drivers()
    async with service(tmp_path, drivers) as em:
        job = (await em.submit(spec())).id
        epoch = await running(em, job)
        await em.desk.begin(job, epoch, 1, "tcp://w")
        await em.desk.fail(job, epoch, 1, "no such column", "Traceback ...", lost=False)
        assert em.job(job).state == "failed"
        assert em.job(job).error == "no such column"
        texts = [line["text"] for line in await em.logs(job)]
        assert texts[-2:] == ["Traceback ...", "failed: no such column"]
        with pytest.raises(JobStateError, match="failed: no such column; a result is there when"):
            await em.result(job)


@in_a_loop
async def test_a_driver_that_cannot_begin_fails_the_job(tmp_path):
    drivers = Drivers()
    async with service(tmp_path, drivers) as em:
        job = (await em.submit(spec())).id
        await until(lambda: drivers.launched)
        drivers.lose(job, 1, "no module named dask_em", lost=False)
        await until(lambda: em.job(job).state == "failed")


@in_a_loop
async def test_a_silent_driver_is_replaced(tmp_path):
    drivers = Drivers()
    async with service(tmp_path, drivers, silence=0.05) as em:
        drivers.removes = False  # its worker is well
        job = (await em.submit(spec())).id
        await until(lambda: (job, 2) in drivers.launched)
        assert (job, 1) in drivers.stopped
        drivers.begun = False  # no worker has a place for it: that is no silence
        epoch = em.job(job).epoch
        await asyncio.sleep(0.3)
        assert em.job(job).epoch <= epoch + 1
        settled = em.job(job).epoch
        drivers.begun = drivers.removes = True  # now its worker is removed
        parted = len(drivers.parted)
        await until(lambda: len(drivers.parted) > parted)
        assert em.job(job).epoch == settled


@in_a_loop
async def test_a_pass_is_told_once_though_its_line_was_lost(tmp_path):
    async with service(tmp_path) as em:
        job = (await em.submit(spec())).id
        epoch = await running(em, job)
        await em.desk.begin(job, epoch, 1, "tcp://w")
        for number in (1, 2):
            await em.desk.commit(job, epoch, 1, one_pass(number), [])
    (tmp_path / "jobs" / job / "trace.jsonl").unlink()  # not written when the machine died
    async with service(tmp_path) as em:
        epoch = await running(em, job)
        order = await em.desk.begin(job, epoch, 1, "tcp://w")
        assert order["passes"] == 0
        for number in (1, 2, 3):
            answer = await em.desk.commit(job, epoch, 1, one_pass(number), [])
            # the checkpoint of the driver before is needed until this one has brought more
            assert answer == {"counts": number == 3}
        assert [one.number for one in em.trace(job)] == [1, 2, 3]


@in_a_loop
async def test_repairs_and_bad_chunks_are_marks(tmp_path):
    async with service(tmp_path) as em:
        job = (await em.submit(spec())).id
        epoch = await running(em, job)
        await em.desk.begin(job, epoch, 1, "tcp://w")
        told = {**one_pass(1), "notes": ["empty component 3: moved", "2 unreadable chunks skipped"]}
        await em.desk.commit(job, epoch, 1, told, [])
        assert [(mark.kind, mark.number) for mark in em.marks(job)] == [
            ("repair", 1),
            ("skipped", 1),
        ]


@in_a_loop
async def test_the_same_key_is_the_same_job(tmp_path):
    async with service(tmp_path) as em:
        made = await asyncio.gather(*(em.submit(spec(), idempotency_key="k") for _ in range(20)))
        assert len({one.id for one in made}) == 1
        with pytest.raises(JobStateError, match="under the key 'k' with another specification"):
            await em.submit(spec(output="/elsewhere"), idempotency_key="k")
        # priority and tags are of no influence on what it gives
        assert (await em.submit(spec(priority=5), idempotency_key="k")).id == made[0].id


@in_a_loop
async def test_what_cannot_be_is_refused_before_it_is_queued(tmp_path):
    def rehearse(parsed):
        if "nowhere" in parsed.data.url:
            raise SourceError("/data/nowhere does not exist")
        if "long" in parsed.data.url:
            raise OSError("File name too long")

    async with service(tmp_path / "s", rehearse=rehearse, roots=["/data"]) as em:
        for wrong, kind, words in (
            ("{", InputError, "no JSON"),
            ("[]", InputError, "does not fit"),
            (spec(modl=1), InputError, "did you mean 'model'"),
            (spec(data={"url": "rows.zarr"}), InputError, "relative path"),
            (spec(data={"url": "/etc/passwd"}), AccessError, "outside of what this service reads"),
            (spec(data={"url": "/data/nowhere"}), SourceError, "does not exist"),
            (spec(data={"url": "/data/long"}), InputError, "OSError: File name too long"),
            (spec(data={"url": "/data/\0"}), InputError, "should match pattern"),
            ("{}".encode("utf-16"), InputError, "no text in UTF-8"),
        ):
            with pytest.raises(kind, match=words):
                await em.submit(wrong)
        assert em.jobs() == []
        assert em.counters.refusals == 9
        for ask in (em.job, em.trace, em.marks, em.spec):
            with pytest.raises(UnknownJobError, match="there is no job 'x'; there are none"):
                ask("x")


@in_a_loop
async def test_data_that_do_not_answer_hold_up_nobody(tmp_path, monkeypatch):
    answered = threading.Event()

    def rehearse(_):
        answered.wait(30)

    monkeypatch.setattr(inspection, "CHECK_SECONDS", 0.05)
    async with service(tmp_path, rehearse=rehearse) as em:
        try:
            async with asyncio.timeout(10):  # the limit is for what never ends
                made = await asyncio.gather(*(em.submit(spec(owner=str(n))) for n in range(8)))
            assert [one.state for one in made] == ["queued"] * 8
        finally:
            answered.set()


@in_a_loop
async def test_paths_that_take_long_to_find_are_refused(tmp_path, monkeypatch):
    looked = threading.Event()
    monkeypatch.setattr(inspection, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(inspection, "check_places", lambda *_: looked.wait(30))
    async with service(tmp_path) as em:
        try:
            with pytest.raises(AccessError, match=r"within 0\.05 s.*fewer files"):
                await em.submit(spec())
        finally:
            looked.set()


@in_a_loop
async def test_what_has_ended_is_not_ended_again(tmp_path):
    async with service(tmp_path, max_running=1) as em:
        first = (await em.submit(spec())).id
        second = (await em.submit(spec())).id
        with pytest.raises(JobStateError, match="is queued; a result is there when it is done"):
            await em.result(second)
        with pytest.raises(JobStateError, match="it is queued; cancel it first"):
            await em.delete(second)
        assert (await em.cancel(second)).state == "cancelled"
        with pytest.raises(JobStateError, match="it is cancelled already"):
            await em.cancel(second)
        with pytest.raises(JobStateError, match="only failed and cancelled jobs are resumed"):
            await em.resume(first)
        await em.delete(second)
        assert not (tmp_path / "jobs" / second).exists()
        with pytest.raises(UnknownJobError):
            em.job(second)


@in_a_loop
async def test_a_store_that_cannot_be_written_loses_nothing(tmp_path):
    drivers = Drivers()
    async with service(tmp_path, drivers, max_running=1) as em:
        job = (await em.submit(spec())).id
        epoch = await running(em, job)
        await em.desk.begin(job, epoch, 1, "tcp://w")
        folder = tmp_path / "jobs"
        folder.rename(tmp_path / "away")
        folder.write_text("in the way")
        with pytest.raises(ClusterError, match=r"cannot be written.*free some space"):
            await em.submit(spec())
        assert len(em.jobs()) == 1
        with pytest.raises(ClusterError, match="cannot be written"):
            await em.desk.commit(job, epoch, 1, one_pass(1), [])
        with pytest.raises(ClusterError, match="cannot be written"):
            await em.cancel(job)
        assert em.job(job).state == "running"
        assert em.trace(job) == []
        drivers.lose(job, epoch)  # what happens meanwhile is kept as soon as it can be
        await asyncio.sleep(0.1)
        assert em.job(job).state == "running"
        folder.unlink()
        (tmp_path / "away").rename(folder)
        await until(lambda: (job, 2) in drivers.launched)
        assert json.loads((folder / job / "record.json").read_text())["epoch"] == 2


@in_a_loop
async def test_changes_are_heard_of(tmp_path):
    async with service(tmp_path, max_running=1) as em:
        job = (await em.submit(spec())).id
        await running(em, job)
        seen = em.job(job).version
        waiting = asyncio.create_task(em.changed(job, seen, 30.0))
        any_waiting = asyncio.create_task(em.changed(None, seen, 30.0))
        other = (await em.submit(spec())).id
        await any_waiting
        assert not waiting.done()
        await em.cancel(job)
        assert await waiting == em.job(job).version > seen
        assert await em.changed(other, em.job(other).version + 1, 0.01) == em.job(other).version


@in_a_loop
async def test_old_jobs_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr("dask_em.service.supervisor.TEND_SECONDS", 0.02)
    async with service(tmp_path, max_running=1, keep_jobs=2) as em:
        made = [(await em.submit(spec())).id for _ in range(5)]
        for job in made[:4]:
            await em.cancel(job)
        await until(lambda: len(em.jobs()) == 3)
        assert {one.id for one in em.jobs()} == {*made[2:4], made[4]}
        await until(lambda: len(list((tmp_path / "jobs").iterdir())) == 3)


@in_a_loop
async def test_who_comes_later_has_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr("dask_em.service.supervisor.TEND_SECONDS", 0.02)
    drivers = Drivers()
    async with service(tmp_path, drivers) as em:
        job = (await em.submit(spec())).id
        await running(em, job)
        claim = {"id": "another", "host": "elsewhere", "pid": 1}
        (tmp_path / "service.json").write_text(json.dumps(claim))
        await until(lambda: (job, 1) in drivers.stopped)
        with pytest.raises(ClusterError, match="another one, on elsewhere, has taken over"):
            await em.submit(spec())
    assert json.loads((tmp_path / "service.json").read_text())["id"] == "another"


@in_a_loop
async def test_who_comes_later_is_seen_while_old_outputs_do_not_answer(tmp_path, monkeypatch):
    asked, answers = threading.Event(), threading.Event()

    def wait(*_):
        asked.set()
        answers.wait()

    monkeypatch.setattr("dask_em.service.supervisor.TEND_SECONDS", 0.02)
    monkeypatch.setattr("dask_em.service.keeper.abandon", wait)
    monkeypatch.setattr("dask_em.service.keeper.ABANDON_SECONDS", 1e6)
    async with service(tmp_path, keep_jobs=1, max_running=1) as em:
        try:
            for _ in range(3):
                await em.cancel((await em.submit(spec())).id)
            await until(asked.is_set)
            (tmp_path / "service.json").write_text(json.dumps({"id": "another", "host": "there"}))
            await until(lambda: em._conductor.closed)
            assert "another one, on there, has taken over" in em._conductor.closed
        finally:
            answers.set()


@in_a_loop
async def test_a_store_that_another_process_serves_is_refused(tmp_path):
    import os
    import socket

    import psutil

    parent = psutil.Process(os.getppid())
    claim = {
        "id": "x",
        "host": socket.gethostname(),
        "pid": parent.pid,
        "created": parent.create_time(),
    }
    (tmp_path / "service.json").write_text(json.dumps(claim))
    with pytest.raises(ClusterError, match=f"is served by process {parent.pid} of this machine"):
        async with service(tmp_path):
            pass
    claim["created"] -= 100  # the number is another process's now
    (tmp_path / "service.json").write_text(json.dumps(claim))
    async with service(tmp_path):
        pass


@in_a_loop
async def test_secrets_are_not_shown(tmp_path):
    data = {
        "url": "s3://me:secret@bucket/x?token=abcdefgh",
        "storage_options": {"secret": "abcdef"},
    }
    async with service(tmp_path) as em:
        job = (await em.submit(spec(data=data))).id
        shown = json.dumps([em.spec(job), em.job(job).told(), await em.logs(job)])
        for secret in ("me:secret", "abcdef"):
            assert secret not in shown
    for file in (tmp_path / "jobs" / job).iterdir():
        assert file.stat().st_mode & 0o077 == 0, f"others can read {file}"
