"""Checkpoints: what drivers begin with and leave, and what of it goes with a job."""

from __future__ import annotations

import asyncio
import json
import threading

import dask
import numpy as np
import pytest
import zarr

import dask_em
from dask_em.engine.monitor import Monitor
from dask_em.errors import ArchiveError, SourceError
from dask_em.place import parse_place
from dask_em.service import checkpoints
from dask_em.service.spec import parse
from dask_em.service.store import JobStore
from dask_em.service.work import perform
from tests.service.office import service

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization")


class Ending(Monitor):
    """Broken off after some tasks, or some passes."""

    def __init__(self, tasks=10**9, passes=10**9):
        self.tasks, self.passes = tasks, passes

    def advance(self):
        self.tasks -= 1
        if not self.tasks:
            raise KeyboardInterrupt

    def end(self, record):
        self.passes -= 1
        if not self.passes:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(1600, 3)) + 4.0 * rng.integers(0, 3, (1600, 1))
    path = tmp_path_factory.mktemp("rows") / "rows.zarr"
    zarr.create_array(path, data=values, chunks=(100, 3))
    return str(path)


def fit_of(rows, **more):
    model = {"kind": "gaussian_mixture", "n_components": 3, "random_state": 1}
    stopping = {"algorithm": "em", "max_iter": 6, "tol": 0.0}
    told = {"task": "fit", "data": {"url": rows}, "model": model, "stopping": stopping, **more}
    return parse(json.dumps(told))


def passes(place):
    """The passes of EM after which a fit is kept at a place."""
    names = place.files().names() if place.exists() else []
    return [int(name.rpartition("-")[2]) for name in names if name.startswith("start-0")]


def driven(store, counts, own, spec, since, **ending):
    """What a driver does, until it is broken off."""
    place = checkpoints.begin(store, "a1", counts, own, spec)
    assert passes(place) == since
    try:
        made = perform(spec, checkpoint=place, monitor=Ending(**ending))
    except KeyboardInterrupt:
        return None
    checkpoints.leave(place, spec)
    return made


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_a_driver_goes_on_from_the_last_one_that_counts(rows, where, tmp_path):
    root = str(tmp_path / "store") if where == "folder" else f"memory:/{tmp_path}/store"
    store, given = JobStore(root), tmp_path / "given"
    spec = fit_of(rows, checkpoint=str(given))
    assert driven(store, None, "1.7", spec, [], passes=3) is None
    assert not given.exists(), "it is somebody's, and this driver may not count any more"
    assert driven(store, "1.7", "2.9", spec, [2], passes=5) is None
    assert driven(store, "1.7", "3.11", spec, [2], passes=4) is None
    made = driven(store, "2.9", "4.13", spec, [4])
    expected = perform(spec)
    np.testing.assert_array_equal(made.means_, expected.means_)
    assert made.lower_bounds_ == expected.lower_bounds_
    # and it can be gone on from, by another job or by hand
    assert passes(parse_place(given)) == [6]
    place = checkpoints.begin(store, "b2", None, "1.1", spec)
    assert passes(place) == [6]
    np.testing.assert_array_equal(perform(spec, checkpoint=place).means_, expected.means_)


def test_a_checkpoint_that_nobody_wrote_is_refused_before_anything_is_copied(rows, tmp_path):
    store = JobStore(str(tmp_path / "store"))
    with pytest.raises(ArchiveError, match="rows.zarr is not a checkpoint, it holds"):
        checkpoints.begin(store, "a1", None, "1.1", fit_of(rows, checkpoint=rows))
    assert not (tmp_path / "store").exists()
    place, spec = parse_place(tmp_path / "own"), fit_of(rows, checkpoint=str(tmp_path / "given"))
    perform(spec, checkpoint=place)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "precious").write_text("somebody's")
    with pytest.raises(ArchiveError, match="given is not a checkpoint, it holds precious"):
        checkpoints.leave(place, spec)


@pytest.fixture
def prediction(rows, tmp_path, monkeypatch):
    """A prediction in sixteen tasks."""
    for name in ("engine.plan.KEPT_TASK_BYTES", "sources.tiling.TARGET_BYTES"):
        monkeypatch.setattr(f"dask_em.{name}", 100 * 3 * 8)
    dask_em.GaussianMixture(3, random_state=1).fit(rows).save(tmp_path / "model.zarr")
    told = {"task": "predict", "data": {"url": rows}, "model": str(tmp_path / "model.zarr")}
    with dask.config.set(scheduler="synchronous"):
        yield {**told, "outputs": {"class": str(tmp_path / "labels.zarr")}}


def begin_to_write(told, store, id):
    spec = parse(json.dumps(told))
    place = checkpoints.begin(JobStore(str(store)), id, None, "1.1", spec)
    with pytest.raises(KeyboardInterrupt):
        perform(spec, checkpoint=place, monitor=Ending(tasks=5))


def drafts(folder):
    return list(folder.glob(".labels.zarr.*"))


@pytest.mark.parametrize("kept", [False, True])
def test_what_a_prediction_had_begun_to_write_goes_with_it(prediction, kept, tmp_path):
    """Unless the checkpoint is somebody's, who may go on with it."""
    store = tmp_path / "store"
    told = {**prediction, **({"checkpoint": str(tmp_path / "kept")} if kept else {})}

    async def delete():
        async with service(store) as em:
            job = (await em.submit(json.dumps(told))).id
            begin_to_write(told, store, job)
            await em.cancel(job)
            assert drafts(tmp_path), "it may be resumed"
            await em.delete(job)

    asyncio.run(delete())
    assert bool(drafts(tmp_path)) == kept
    perform(parse(json.dumps(told)), checkpoint=parse_place(tmp_path / "kept"))
    assert not drafts(tmp_path)
    assert (zarr.open(tmp_path / "labels.zarr")["class"][:] >= 0).all()


def test_what_another_job_writes_too_stays(prediction, tmp_path):
    store, other = tmp_path / "store", {**prediction, "overwrite": True}

    async def delete():
        async with service(store) as em:
            one, twin = [(await em.submit(json.dumps(told))).id for told in (prediction, other)]
            for job in (one, twin):
                begin_to_write(prediction, store, job)
                await em.cancel(job)
            await em.resume(twin)
            assert len(drafts(tmp_path)) == 1, "they share it"
            await em.delete(one)
            assert drafts(tmp_path)
            await em.cancel(twin)
            await em.delete(twin)
            assert not drafts(tmp_path)

    asyncio.run(delete())


def test_outputs_that_cannot_be_reached_do_not_keep_a_job(
    prediction, tmp_path, monkeypatch, caplog
):
    def fail(*_):
        raise OSError("it is unplugged")

    async def delete():
        async with service(tmp_path / "store") as em:
            job = (await em.submit(json.dumps(prediction))).id
            begin_to_write(prediction, tmp_path / "store", job)
            await em.cancel(job)
            monkeypatch.setattr("dask_em.sources.kept.abandon", fail)
            await em.delete(job)
            assert em.jobs() == []
            assert f"job {job} may leave a draft beside its outputs: it is unplugged" in caplog.text

    asyncio.run(delete())


def test_outputs_that_never_answer_do_not_keep_models(prediction, tmp_path, monkeypatch):
    answers = threading.Event()
    monkeypatch.setattr("dask_em.service.keeper.abandon", lambda *_: answers.wait())
    monkeypatch.setattr("dask_em.service.keeper.ABANDON_SECONDS", 0.01)

    async def delete():
        async with service(tmp_path / "store") as em:
            for _ in range(5):
                job = (await em.submit(json.dumps(prediction))).id
                await em.cancel(job)
                await em.delete(job)
            try:
                with pytest.raises(SourceError, match="model of job gone is not in"):
                    await asyncio.wait_for(em._keeper.model("gone"), 60)
            finally:
                answers.set()

    asyncio.run(delete())
