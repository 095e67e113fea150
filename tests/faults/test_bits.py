"""The same bits for any number of workers and tasks, and after the death of a worker."""

from __future__ import annotations

import numpy as np
import pytest
from distributed import Client, LocalCluster

from dask_em import ChunkError, ClusterError, Gaussian, GaussianMixture, Mixture, Stopping
from dask_em.engine.fit import fit
from dask_em.engine.plan import Plan
from dask_em.engine.runner import ClusterRunner, LocalRunner
from dask_em.models.seeding import KMeans
from tests.engine.sources import MadeSource, Script, clusters

MIXTURE = Mixture(Gaussian(), 3, KMeans())
ROWS = clusters(6400)


def bits(source, client=None):
    rng = np.random.default_rng(0)
    fitted = fit(MIXTURE, source, client=client, rng=rng, stopping=Stopping(0, 4))
    components = fitted.parameters.components
    return (
        components.means.tobytes()
        + components.covariances.tobytes()
        + fitted.parameters.weights.tobytes()
        + np.array(fitted.objectives).tobytes()
    )


@pytest.fixture(scope="module")
def expected():
    return bits(MadeSource(ROWS, 50))


def cluster_of(n_workers):
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )


@pytest.mark.parametrize("n_workers", [1, 3])
def test_workers(expected, n_workers):
    with cluster_of(n_workers) as cluster, Client(cluster) as client:
        assert len(client.scheduler_info()["workers"]) == n_workers
        assert bits(MadeSource(ROWS, 50), client) == expected


def test_what_the_client_notes_meanwhile_hides_no_worker(client, monkeypatch):
    noted = {**client.scheduler_info(), "workers": {}}  # as it does every two seconds
    monkeypatch.setattr(client, "scheduler_info", lambda **_: noted)
    assert ClusterRunner(client).resources.n_threads == 2


@pytest.mark.parametrize("n_tasks", [1, 2, 16, 128])
def test_tasks(expected, n_tasks, monkeypatch):
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: n_tasks)
    source = MadeSource(ROWS, 50)
    assert Plan.make(source, LocalRunner().resources).n_tasks == n_tasks
    assert bits(source) == expected


def test_a_worker_is_killed_in_mid_pass(expected, client, tmp_path, monkeypatch):
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: 16)
    died = tmp_path / "died"
    source = MadeSource(ROWS, 50, seconds=0.001, script=Script(70, "kill", died))
    assert bits(source, client) == expected
    assert died.exists()


def test_a_chunk_that_kills_every_worker_ends_with_advice(client, monkeypatch):
    monkeypatch.setattr(ClusterRunner, "attempts", 1)
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: 16)
    with pytest.raises(ClusterError, match="workers were lost.*logs"):
        bits(MadeSource(ROWS, 50, script=Script(70, "kill")), client)


def test_an_error_in_a_task_arrives_as_it_was_raised(client):
    with pytest.raises(ChunkError, match="chunk 70 cannot be decoded"):
        bits(MadeSource(ROWS, 50, script=Script(70, "fail")), client)


def test_lost_parameters_are_sent_again(expected, client, monkeypatch):
    """A restart of all workers by somebody else costs the pass, not the fit."""
    once = ClusterRunner._once
    calls = []

    def restarted(self, prefix, *rest):
        calls.append(prefix)
        if len(calls) == 3:
            from threading import Timer

            Timer(0.3, self.client.restart, kwargs={"wait_for_workers": False}).start()
        return once(self, prefix, *rest)

    monkeypatch.setattr(ClusterRunner, "_once", restarted)
    assert bits(MadeSource(ROWS, 50, seconds=0.02), client) == expected
    assert len(calls) > 5


def test_rows_in_memory_beside_a_client_are_fitted_here(client):
    mixture = GaussianMixture(2, random_state=0, tol=1e-2)
    rows = np.random.default_rng(0).normal(size=(300_000, 2))
    before = client.run(lambda dask_worker: len(dask_worker.state.tasks))
    assert len(mixture.fit(rows).means_) == 2
    assert client.run(lambda dask_worker: len(dask_worker.state.tasks)) == before


def test_a_persisted_array_is_read_on_the_workers(client):
    import dask.array as da

    rows = da.from_array(ROWS, chunks=(400, 3))
    persisted = client.persist(rows)
    plain = GaussianMixture(3, random_state=0).fit(rows)
    np.testing.assert_array_equal(
        GaussianMixture(3, random_state=0).fit(persisted).means_, plain.means_
    )


def test_a_fit_inside_a_task_leaves_its_thread_to_others(tmp_path):
    import zarr

    zarr.create_array(tmp_path / "x.zarr", data=ROWS, chunks=(800, 3))
    path = str(tmp_path / "x.zarr")

    def inside():
        return GaussianMixture(3, random_state=0, tol=1e-2).fit(path).n_iter_

    with cluster_of(1) as cluster, Client(cluster) as client:
        assert client.submit(inside).result(timeout=60) > 0


def test_an_error_of_the_file_system_is_not_a_lost_worker(client, tmp_path):
    from dask_em.engine.monitor import Monitor

    def denied(item, shared, stopped):
        (tmp_path / f"tried-{item}").touch(exist_ok=False)
        raise PermissionError("denied")

    with pytest.raises(PermissionError, match="denied"):
        ClusterRunner(client).reduce("em-expect", denied, [0], None, Monitor())


def test_a_client_that_is_nobodys_default(expected, cluster):
    with Client(cluster, set_as_default=False) as client:
        assert bits(MadeSource(ROWS, 50), client) == expected


def test_a_client_that_is_closed(client):
    with Client(client.scheduler.address) as other:
        pass
    with pytest.raises(ClusterError, match="closed"):
        fit(MIXTURE, MadeSource(ROWS, 50), client=other)


def test_a_cluster_that_adapts_is_given_a_reason_to_start_a_worker():
    with cluster_of(0) as cluster, Client(cluster) as client:
        cluster.adapt(minimum=0, maximum=1, interval="100ms")
        assert ClusterRunner(client, timeout=60).resources.n_threads == 1


def test_a_cluster_without_workers_is_said_to_be_one():
    with (
        cluster_of(0) as cluster,
        Client(cluster) as client,
        pytest.raises(ClusterError, match="no worker for 0.5 s; start some"),
    ):
        ClusterRunner(client, timeout=0.5)
