"""A job that needs nobody to watch it: submitted to a service, and picked up by somebody else.

Run it with ``python examples/jobs.py``; it starts a scheduler and two workers for half a minute.
On a cluster the service is started with ``dask scheduler --preload dask_em.preload``, on a laptop
with ``dask-em serve``.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import zarr
from distributed import Client, LocalCluster

import dask_em


def main() -> None:
    with (
        TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit="1GiB",
        ) as cluster,
        Client(cluster) as client,
    ):
        store = write_rows(Path(folder, "rows.zarr"))
        dask_em.install_service(client, store=str(Path(folder, "jobs")))
        print(f"the page: {client.dashboard_link.replace('status', 'em')}")
        submit(store, cluster.scheduler_address)
        pick_up(cluster.scheduler_address)


def write_rows(path: Path) -> Path:
    rng = np.random.default_rng(0)
    centres = np.array([[-4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
    rows = rng.normal(size=(60_000, 2)) + centres[rng.integers(0, 3, size=60_000)]
    zarr.create_array(path, data=rows, chunks=(5_000, 2))
    return path


def submit(store: Path, address: str) -> None:
    """One process hands in what is to be done, as JSON, and may end."""
    job = dask_em.submit(
        {
            "task": "fit",
            "data": {"url": str(store)},
            "model": {"kind": "gaussian_mixture", "n_components": 3, "random_state": 0},
            "mapping": [{"step": "standardize"}],
            "tags": {"cruise": "12"},
        },
        client=address,
    )
    print(f"submitted {job.id}, {job.view.state}")


def pick_up(address: str) -> None:
    """Another one finds the job, watches it and takes what it made."""
    (job,) = dask_em.jobs(client=address, tag="cruise=12")
    view = job.wait()  # or `for view in job.watch()`, which gives each change
    print(f"{view.state} after {view.passes} passes, {view.objective:.4f} nats per row")
    for one in job.trace():
        print(f"  pass {one.number} ({one.kind}): {one.rows:,} rows in {one.seconds:.2f} s")
    for weight, mean in zip(job.result().weights_, job.result().means_, strict=True):
        print(f"weight {weight:.3f}  mean {np.round(mean, 2)}")


if __name__ == "__main__":
    main()
