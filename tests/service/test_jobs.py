"""Jobs on a real cluster: what they give, and what can be seen and asked of them."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster

import dask_em
from dask_em import install_service
from dask_em.errors import (
    ClusterError,
    InputError,
    JobError,
    JobStateError,
    SourceError,
    UnknownJobError,
)
from dask_em.service.client import Service

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def cluster(store):
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit="1GiB",
    ) as cluster:
        with Client(cluster) as client:
            install_service(client, store=str(store), heartbeat=0.1)
        yield cluster


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(6000, 3)) + 4.0 * rng.integers(0, 3, (6000, 1))
    path = tmp_path_factory.mktemp("rows") / "rows.zarr"
    zarr.create_array(path, data=values, chunks=(500, 3))
    return str(path)


@pytest.fixture
def address(cluster):
    return cluster.scheduler_address


def fit_of(rows, **more):
    return {
        "task": "fit",
        "data": {"url": rows},
        "model": {"kind": "gaussian_mixture", "n_components": 3, "random_state": 1},
        "stopping": {"algorithm": "em", "max_iter": 6, "tol": 1e-12},
        **more,
    }


def direct(rows):
    return dask_em.GaussianMixture(3, random_state=1, algorithm="em", max_iter=6, tol=1e-12).fit(
        rows
    )


def test_a_fit_gives_the_bits_of_a_fit_by_hand(address, rows, store, tmp_path):
    output = tmp_path / "model.zarr"
    job = dask_em.submit(fit_of(rows, output=str(output)), client=address)
    states = [view.state for view in job.watch()]
    assert states[-1] == "done"
    assert states == sorted(states, key=["queued", "running", "done"].index)
    model, expected = job.result(), direct(rows)
    np.testing.assert_array_equal(model.means_, expected.means_)
    assert model.lower_bounds_ == expected.lower_bounds_
    np.testing.assert_array_equal(dask_em.load(output).means_, expected.means_)
    assert sum(job.view.weights) == pytest.approx(1.0)
    trace = job.trace()
    assert [one.number for one in trace] == list(range(1, len(trace) + 1))
    assert [one.objective for one in trace[1:]] == expected.lower_bounds_
    assert [one.number for one in job.trace(after=3)] == [one.number for one in trace[3:]]
    kept = store / "jobs" / job.id
    assert json.loads((kept / "record.json").read_text())["state"] == "done"
    assert not (kept / "checkpoints").exists()


def test_who_is_there_sees_it(cluster, address, rows):
    with Client(cluster) as client:
        job = dask_em.submit(fit_of(rows, tags={"cruise": "12"}), wait=True)  # the current client
        assert job.view.state == "done"
        assert dask_em.job(job.id, client=client).view == job.view
    assert [one.id for one in dask_em.jobs(client=address, tag="cruise=12")] == [job.id]
    assert dask_em.jobs(client=address, tag="cruise=13") == []
    assert job.id in repr(job)


def test_a_sweep_and_a_prediction(address, rows, tmp_path):
    best = tmp_path / "best.zarr"
    candidates = {"n_components": [2, 3], "covariance_type": ["diag"], "random_state": 0}
    told = {"task": "sweep", "data": {"url": rows}, "candidates": candidates, "output": str(best)}
    sweep = dask_em.submit(told, client=address, wait=True)
    expected = dask_em.sweep(rows, [2, 3], covariance_type=["diag"], random_state=0).best
    np.testing.assert_array_equal(sweep.result().means_, expected.means_)
    told = {
        "task": "predict",
        "data": {"url": rows},
        "model": str(best),
        "outputs": {"class": str(tmp_path / "labels.zarr")},
    }
    job = dask_em.submit(told, client=address, wait=True)
    assert job.view.state == "done", job.logs()
    found = zarr.open(tmp_path / "labels.zarr")["class"][:]
    np.testing.assert_array_equal(found, expected.predict(rows).compute())
    with pytest.raises(JobStateError, match=r"makes no model; its answers are in .*labels\.zarr"):
        job.result()


def test_a_fit_that_fails_says_why(address, tmp_path):
    rows = np.ones((600, 2))
    rows[17, 1] = np.nan
    path = tmp_path / "gaps.zarr"
    zarr.create_array(path, data=rows, chunks=(100, 2))
    job = dask_em.submit(fit_of(str(path)), client=address)
    with pytest.raises(JobError, match=r"failed: .*NaN") as caught:
        job.result()
    assert "Traceback" in str(caught.value)
    assert job.view.state == "failed"
    assert job.view.epoch == 1  # no other driver would do better


def test_what_cannot_be_is_said_in_a_sentence(address, rows):
    for wrong, kind, words in (
        (fit_of(rows, modl=1), InputError, "did you mean 'model'"),
        (fit_of("/nowhere/x"), SourceError, "/nowhere/x does not exist"),
        (fit_of("rows.zarr"), InputError, "relative path"),
        ("/nowhere/job.json", InputError, "cannot be read"),
    ):
        with pytest.raises(kind, match=words):
            dask_em.submit(wrong, client=address)
    with pytest.raises(UnknownJobError, match="there is no job 'x'"):
        dask_em.job("x", client=address)
    with pytest.raises(ClusterError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        dask_em.jobs(client="tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match="there is no Dask client"):
        dask_em.jobs()


def test_a_scheduler_without_the_service_says_how_to_get_it():
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as bare,
        pytest.raises(ClusterError, match=r"has no job service.*--preload dask_em\.preload"),
    ):
        dask_em.jobs(client=bare.scheduler_address)


def test_cancelled_it_stops_and_resumed_it_goes_on(address, rows):
    slow = fit_of(rows, stopping={"algorithm": "em", "max_iter": 60, "tol": 0.0})
    job = dask_em.submit(slow, client=address)
    for view in job.watch():
        if view.passes >= 5:
            break
    assert job.cancel().state == "cancelled"
    passes = job.refresh().passes
    with pytest.raises(JobStateError, match="it is cancelled already"):
        job.cancel()
    with pytest.raises(JobStateError, match="is cancelled; a result is there when it is done"):
        job.result()
    time.sleep(0.5)
    assert job.refresh().passes == passes
    job.resume()
    model = job.result()
    numbers = [one.number for one in job.trace()]
    assert all(later == one + 1 for one, later in pairwise(numbers))
    assert job.view.epoch == 2
    expected = dask_em.GaussianMixture(3, random_state=1, algorithm="em", max_iter=60, tol=0.0)
    np.testing.assert_array_equal(model.means_, expected.fit(rows).means_)
    job.delete()
    with pytest.raises(UnknownJobError):
        job.refresh()


def test_a_job_goes_on_from_a_checkpoint_and_leaves_its_own_there(address, rows, tmp_path):
    """As a fit by hand does that is given one: by hand, as a job, and by hand again."""
    kept = tmp_path / "kept"
    few, more, most = (
        dask_em.GaussianMixture(3, random_state=1, algorithm="em", max_iter=passes, tol=0.0)
        for passes in (4, 6, 8)
    )
    few.fit(rows, checkpoint=kept)
    stopping = {"algorithm": "em", "max_iter": 6, "tol": 0.0}
    told = fit_of(rows, stopping=stopping, checkpoint=str(kept))
    job = dask_em.submit(told, client=address)
    np.testing.assert_array_equal(job.result().means_, more.fit(rows).means_)
    trace = job.trace()
    assert [one.objective for one in trace[1:]] == more.lower_bounds_
    passes = sorted(path.name for path in kept.glob("start-*"))
    assert passes == ["start-0-pass-000006"], "that of the fit before is of no use any more"
    most.fit(rows, checkpoint=kept)
    expected = dask_em.GaussianMixture(3, random_state=1, algorithm="em", max_iter=8, tol=0.0)
    np.testing.assert_array_equal(most.means_, expected.fit(rows).means_)
    other = fit_of(
        rows, model={"kind": "gaussian_mixture", "n_components": 2}, checkpoint=str(kept)
    )
    with pytest.raises(JobError, match="is that of another fit: "):
        dask_em.submit(other, client=address).result()


def test_what_others_put_at_the_output_meanwhile_is_not_replaced(address, rows, tmp_path):
    output = tmp_path / "model.zarr"
    slow = {"algorithm": "em", "max_iter": 30, "tol": 0.0}
    job = dask_em.submit(fit_of(rows, output=str(output), stopping=slow), client=address)
    for view in job.watch():
        if view.passes >= 2 and not output.exists():
            output.mkdir()
            (output / "precious").write_text("somebody's")
    assert job.view.state == "failed"
    assert f"something was put at the output {output} while the job ran" in job.view.error
    assert (output / "precious").read_text() == "somebody's"
    output.rename(tmp_path / "away")
    job.resume()
    expected = job.result()
    np.testing.assert_array_equal(dask_em.load(output).means_, expected.means_)


def test_nothing_is_left_on_the_cluster(cluster, address, rows):
    with Service.connect(address) as service:
        service.submit(fit_of(rows)).wait()
    with Client(cluster) as client:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            left = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))
            if not left:
                break
            time.sleep(0.05)
        assert left == []
