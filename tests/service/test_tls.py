"""Where connections are encrypted, those of the service are, and nobody else is let in."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster
from distributed.security import Security

import dask_em
from dask_em import install_service
from dask_em.errors import ClusterError

TLS = "distributed.comm.tls"


@pytest.fixture
def certified(tmp_path):
    """Settings by which any process of this machine that reads them belongs to the cluster."""
    made = Security.temporary()
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text(made.tls_ca_file)
    key.write_text(made.tls_client_key)
    tls = {f"{TLS}.ca-file": str(certificate)}
    for role in ("scheduler", "worker", "client"):
        tls.update({f"{TLS}.{role}.cert": str(certificate), f"{TLS}.{role}.key": str(key)})
    with dask.config.set({**tls, "distributed.comm.require-encryption": True}):
        yield


def test_a_job_on_an_encrypted_cluster(certified, tmp_path):
    rows = np.random.default_rng(0).normal(size=(400, 2))
    zarr.create_array(tmp_path / "rows.zarr", data=rows, chunks=(100, 2))
    told = {
        "task": "fit",
        "data": {"url": str(tmp_path / "rows.zarr")},
        "model": {"kind": "gaussian_mixture", "n_components": 1},
    }
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        host="127.0.0.1",
        protocol="tls",
        dashboard_address="127.0.0.1:0",
        memory_limit="1GiB",
        security=Security(),
    ) as cluster:
        assert cluster.scheduler_address.startswith("tls://")
        with Client(cluster) as client:
            install_service(client, store=str(tmp_path / "store"))
            job = dask_em.submit(told, client=client)
            np.testing.assert_allclose(job.result(timeout=60).means_, [rows.mean(axis=0)])
        # by its address, with the certificates of Dask's configuration
        assert dask_em.job(job.id, client=cluster.scheduler_address).view.state == "done"
        bare = {f"{TLS}.ca-file": None, f"{TLS}.client.cert": None}
        with dask.config.set(bare), pytest.raises(ClusterError):
            dask_em.jobs(client=cluster.scheduler_address)
