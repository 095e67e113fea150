"""The same bits for any number of workers and tasks, and after the death of a worker."""

from __future__ import annotations

import numpy as np
import pytest
from distributed import Client, LocalCluster

from dask_em import ChunkError, ClusterError, Gaussian, Mixture, Stopping
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
        n_workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    )


@pytest.mark.parametrize("n_workers", [1, 3])
def test_workers(expected, n_workers):
    with cluster_of(n_workers) as cluster, Client(cluster) as client:
        assert bits(MadeSource(ROWS, 50), client) == expected


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
