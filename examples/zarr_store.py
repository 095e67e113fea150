"""A Gaussian mixture fitted to a Zarr store that is streamed on a local Dask cluster.

Run it with ``python examples/zarr_store.py``. The store that it makes is small; nothing but
time changes when it is a thousand times larger, for the memory of a worker does not grow with it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import zarr
from distributed import Client, LocalCluster

from dask_em import GaussianMixture, load
from dask_em.engine.monitor import Monitor, PassRecord

DAYS, HEIGHT, WIDTH = 60, 100, 120


def make_store(path: Path) -> None:
    """Write days of a field of four variables, (day, y, x, variable), one day to a chunk."""
    rng = np.random.default_rng(0)
    regimes = rng.normal(scale=4, size=(5, 4))
    array = zarr.create_array(
        path, shape=(DAYS, HEIGHT, WIDTH, 4), chunks=(1, HEIGHT, WIDTH, 4), dtype="float32"
    )
    for day in range(DAYS):
        found = regimes[rng.integers(0, 5, size=(HEIGHT, WIDTH))]
        array[day] = found + rng.normal(size=found.shape)


class Lines(Monitor):
    """A line for each pass."""

    def end(self, record: PassRecord) -> None:
        told = "first look" if record.objective is None else f"{record.objective:.6f} nats per row"
        print(f"{record.kind:>5} {record.iteration}: {told}, {record.seconds:.2f} s")


def main(folder: Path) -> None:
    data = folder / "field.zarr"
    make_store(data)
    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        memory_limit="1GB",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )
    # a client that is current is used by itself
    with cluster, Client(cluster) as client:
        print(f"dashboard {client.dashboard_link}")
        mixture = GaussianMixture(5, random_state=0).fit(data, monitor=Lines())
        mixture.save(folder / "model.zarr")

        # a lazy result in the shape of the store: nothing is read before it is asked for
        labels = load(folder / "model.zarr").predict(data)
        print(labels)
        print(f"labels of a corner on the last day:\n{labels[-1, :3, :8].compute()}")
        share = (labels == 0).mean(axis=(1, 2)).compute()
        print(f"share of component 0 by day: {share.min():.3f} to {share.max():.3f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with TemporaryDirectory() as scratch:
            main(Path(scratch))
