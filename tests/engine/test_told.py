"""What a monitor was told of is kept; a fit that goes on tells of all passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from dask_em import Gaussian, Mixture, Stopping
from dask_em.engine.fit import fit
from dask_em.engine.monitor import Monitor
from dask_em.models.ppca import PPCA
from dask_em.models.seeding import KMeans, RandomRows
from dask_em.sources.registry import open_source
from tests.engine.sources import MadeSource, clusters, overlapping
from tests.engine.traces import Trace, check_killed_anywhere, timeless


def made(model: Any, source: Any, passes: int = 4, **options: Any) -> Any:
    """What fits a model anew, and returns all but the time that it took."""

    def run(monitor: Monitor, checkpoint: Any) -> Any:
        options.setdefault("stopping", Stopping(0, passes))
        rng = np.random.default_rng(0)
        found = fit(model, source, rng=rng, checkpoint=checkpoint, monitor=monitor, **options)
        tree, arrays = found.parameters.flatten()
        history = tuple(map(timeless, found.history))
        bits = {name: one.tobytes() for name, one in arrays.items()}
        return replace(found, parameters=None, history=history), tree, bits  # type: ignore[arg-type]

    return run


def far_from_their_start(offset: float) -> np.ndarray:
    """Rows of which the chunks that are looked at lie apart."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(3200, 3)) @ rng.normal(size=(3, 8)) + rng.normal(size=(3200, 8))
    rows[~np.isin(np.arange(3200) // 50, [16, 48])] += offset
    return rows


def without_digits() -> Any:
    """Rows whose sums near those that are looked at have no digits left."""
    rows, weights = 1e-3 * far_from_their_start(0.0) + 1e4, np.ones(3200)
    looked = np.arange(3200) // 400 == 4
    rows[looked], weights[looked] = rows[looked] - 1e4, 1e-20
    lazy = da.from_array(rows.astype(np.float32), chunks=(400, 8))
    return open_source(lazy, sample_weight=weights)


MIXTURE = Mixture(Gaussian(), 3, KMeans())
FITS = {
    "em": lambda: made(MIXTURE, MadeSource(clusters(2000), 100), algorithm="em"),
    "accelerated": lambda: made(MIXTURE, MadeSource(overlapping(), 3000), init_sample=2000),
    "growing": lambda: made(MIXTURE, MadeSource(overlapping(), 3000), init_sample=400),
    "starts": lambda: made(
        Mixture(Gaussian(), 3, RandomRows()), MadeSource(clusters(1000), 100), 2, n_init=2,
        algorithm="em",
    ),
    "closed": lambda: made(PPCA(3), MadeSource(far_from_their_start(0.0), 50)),
    "closed, nearer": lambda: made(PPCA(3), MadeSource(far_from_their_start(2.0**16), 50)),
    "closed, rejected": lambda: made(PPCA(3), without_digits()),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_what_a_monitor_was_told_of_is_kept(name: str, tmp_path: Path) -> None:
    check_killed_anywhere(FITS[name](), tmp_path)


def test_what_is_killed_is_what_it_says(tmp_path: Path) -> None:
    told = {}
    for name in ("growing", "closed, nearer", "closed, rejected"):
        trace = Trace()
        FITS[name]()(trace, None)
        told[name] = [(one.kind, one.step, one.sample_rows) for one in trace.ended]
    assert len({rows for _, _, rows in told["growing"] if rows}) > 1
    assert told["closed, nearer"] == [("em", "closed", 0)] * 2
    assert [step for _, step, _ in told["closed, rejected"]] == [None, "rejected", "closed"]
