"""The service, asked for several things at once. Without a cluster."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from dask_em.errors import ClusterError, JobStateError
from dask_em.service.store import JobStore
from tests.service.office import Drivers, running, service, spec, until
from tests.service.test_supervisor import in_a_loop


@in_a_loop
async def test_what_is_being_deleted_is_not_resumed(tmp_path):
    async with service(tmp_path) as em:
        job = (await em.submit(spec())).id
        await em.cancel(job)
        deleted, *late = await asyncio.gather(
            em.delete(job), em.resume(job), em.delete(job), return_exceptions=True
        )
        assert deleted is None
        for error in late:
            assert isinstance(error, JobStateError)
            assert str(error) == f"job {job}: it is deleted"
        assert em.jobs() == []
        assert list((tmp_path / "jobs").iterdir()) == []


@in_a_loop
async def test_a_second_submission_stands_in_for_a_first_that_could_not_be_kept(
    tmp_path, monkeypatch
):
    add, tries = JobStore.add, []

    def fail_once(store, job, text, key):
        tries.append(job.id)
        if len(tries) == 1:
            raise OSError("no space")
        add(store, job, text, key)

    monkeypatch.setattr(JobStore, "add", fail_once)
    async with service(tmp_path) as em:
        first, *others = await asyncio.gather(
            *(em.submit(spec(), idempotency_key="k") for _ in range(3)), return_exceptions=True
        )
        assert isinstance(first, ClusterError)
        assert [one.id for one in others] == [tries[1]] * 2
        assert [one.id for one in em.jobs()] == [tries[1]]


@in_a_loop
async def test_nothing_is_written_once_another_service_has_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr("dask_em.service.supervisor.TEND_SECONDS", 0.02)
    looked = threading.Event()

    def look(spec):
        looked.wait(30)

    drivers = Drivers()
    async with service(tmp_path, drivers, rehearse=look, check_data=False) as em:
        job = (await em.submit(spec())).id
        await running(em, job)
        looking = em.settings.model_copy(update={"check_data": True})
        monkeypatch.setattr(em._inspection, "_settings", looking)
        late = asyncio.create_task(em.submit(spec()))
        await asyncio.sleep(0)
        claim = {"id": "another", "host": "elsewhere", "pid": 1}
        (tmp_path / "service.json").write_text(json.dumps(claim))
        await until(lambda: (job, 1) in drivers.stopped)
        looked.set()
        with pytest.raises(ClusterError, match="another one, on elsewhere"):
            await late
        assert [one.name for one in (tmp_path / "jobs").iterdir()] == [job]
        (tmp_path / "jobs" / job / "log.jsonl").write_text("the other's")
        em._table.entry(job).say("what nobody is to read")
    assert (tmp_path / "jobs" / job / "log.jsonl").read_text() == "the other's"


@in_a_loop
async def test_rows_that_do_not_answer_hold_up_no_other_job(tmp_path):
    looked = threading.Event()

    def look(spec):
        if spec.owner == "slow":
            looked.wait(30)

    async with service(tmp_path, rehearse=look) as em:
        job = (await em.submit(spec())).id
        slow = [asyncio.create_task(em.submit(spec(owner="slow"))) for _ in range(12)]
        await asyncio.sleep(0.05)
        try:
            async with asyncio.timeout(8):
                assert (await em.cancel(job)).state == "cancelled"
        finally:
            looked.set()
        await asyncio.gather(*slow)


@in_a_loop
async def test_lines_of_a_job_are_not_written_once_it_is_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("dask_em.service.supervisor.TEND_SECONDS", 0.005)
    write, begun, go_on = JobStore.write_lines, threading.Event(), threading.Event()

    def slowly(store, id, name, lines):
        begun.set()
        go_on.wait(30)
        store._files.make_folder(f"jobs/{id}")  # object stores need none
        write(store, id, name, lines)

    monkeypatch.setattr(JobStore, "write_lines", slowly)
    async with service(tmp_path) as em:
        job = (await em.submit(spec())).id
        await em.cancel(job)
        await until(begun.is_set)
        deleted = asyncio.create_task(em.delete(job))
        await asyncio.sleep(0.05)
        go_on.set()
        await deleted
    assert list((tmp_path / "jobs").iterdir()) == []
