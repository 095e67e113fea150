"""A fit that is to be killed: a script, so that it has processes of its own.

``python -m tests.faults.resumable FOLDER ALGORITHM WHERE`` prints a hash of what the fit gives.
ALGORITHM is ``em`` or ``accelerated``, or ``sweep`` for one of several mixtures, ``here``.
WHERE is ``here``; ``cluster``, with workers in processes of their own; or ``slow-cluster``, which
also takes long to write.
"""

from __future__ import annotations

import hashlib
import random
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dask_em import Gaussian, Mixture, Standardize, Stopping, place, sweep
from dask_em.engine import sample
from dask_em.engine.fit import fit
from dask_em.models.seeding import KMeans
from tests.engine.sources import MadeSource, clusters
from tests.faults.forked import changes, in_fork
from tests.faults.moments import moments

PASSES = 6
ROWS = clusters(1600, 4)


def fitted_bits(
    checkpoint: Path | None, algorithm: str, client: Any = None, seconds: float = 0.0
) -> str:
    """The hash of the parameters and of the objectives of all passes."""
    if algorithm == "sweep":
        return swept_bits(checkpoint)
    fitted = fit(
        Mixture(Gaussian(), 4, KMeans()),
        MadeSource(ROWS, 100, seconds=seconds),
        client=client,
        rng=np.random.default_rng(0),
        stopping=Stopping(0, PASSES),
        algorithm=algorithm,
        checkpoint=checkpoint,
    )
    assert [record.iteration for record in fitted.history[1:]] == list(range(PASSES))
    components = fitted.parameters.components
    found = hashlib.sha1(np.array(fitted.objectives).tobytes())
    for array in (fitted.parameters.weights, components.means, components.covariances):
        found.update(array.tobytes())
    return found.hexdigest()


def swept_bits(checkpoint: Path | None) -> str:
    """The same of a sweep whose mapping learns of the data first, and some of which end early."""
    sample.SAMPLE_ROWS = 300  # one of all rows leaves nothing to be done
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = sweep(
            MadeSource(ROWS, 100),
            (1, 4),
            covariance_type="full",
            tol=1e-7,
            max_iter=PASSES,
            algorithm="em",
            random_state=0,
            mapping=[Standardize()],
            checkpoint=checkpoint,
        )
    assert [record.kind for record in found.history[:3]] == ["moments", "first", "em"]
    assert len({one.n_passes for one in found.candidates}) == 2
    hashed = hashlib.sha1(repr(found.candidates).encode())
    for array in (found.best.means_, found.best.covariances_, found.best.lower_bounds_):
        hashed.update(np.asarray(array).tobytes())
    return hashed.hexdigest()


def killed_anywhere(folder: Path, algorithm: str, times: int) -> None:
    """Kill a fit at random moments of its writing, and have each go on."""
    chance = random.Random(time.time_ns())
    expected = in_fork(partial(fitted_bits, None, algorithm))
    n = changes(partial(fitted_bits, folder / "whole", algorithm), folder)
    assert n is not None
    for moment in sorted(chance.sample(range(1, n + 1), times)):
        checkpoint = folder / f"killed-{moment}"
        fitted = partial(fitted_bits, checkpoint, algorithm)
        made = changes(fitted, folder, moment)
        assert made is None or made < moment, f"change {moment} of {made} was not its last"
        found = in_fork(fitted)
        assert found == expected, f"other bits after change {moment} of {n}"
        assert not list(checkpoint.glob(".*.tmp")), f"change {moment} of {n} left something behind"
    print(f"{times} of {n} moments")


def main(folder: str, algorithm: str, where: str) -> None:
    if where == "here":
        killed_anywhere(Path(folder), algorithm, moments(6))
        return
    from distributed import Client, LocalCluster

    if where == "slow-cluster":
        flush = place.flush_entry

        def slowly(path: Path) -> None:
            time.sleep(0.1)
            flush(path)

        place.flush_entry = slowly
    options: Any = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(host="127.0.0.1", **options) as cluster, Client(cluster) as client:
        print(fitted_bits(Path(folder), algorithm, client, seconds=0.02), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
