"""What a monitor was told of is kept; a fit that goes on tells of all passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from dask_em import ArchiveError, Centre, Gaussian, Mixture, Scale, Standardize, Stopping
from dask_em.engine.monitor import Monitor
from dask_em.estimators.functional import fit
from dask_em.models.ppca import PPCA
from dask_em.models.seeding import KMeans, RandomRows
from dask_em.sources.registry import open_source
from tests.engine.sources import MadeSource, clusters, overlapping
from tests.engine.traces import Killed, Trace, check_killed_anywhere, timeless


def made(model: Any, source: Any, passes: int = 4, mapping: Any = None, **options: Any) -> Any:
    """What fits a model anew, and returns all but the time that it took."""

    def run(monitor: Monitor, checkpoint: Any) -> Any:
        options.setdefault("stopping", Stopping(0, passes))
        given = {**options, "rng": np.random.default_rng(0), "checkpoint": checkpoint}
        found = fit(model, source, mapping=mapping, monitor=monitor, **given)
        tree, arrays = found.parameters.flatten()
        history = tuple(map(timeless, found.history))
        bits = {name: one.tobytes() for name, one in arrays.items()}
        learned = "" if found.mapping is None else str(found.mapping.flatten())
        told = replace(found, parameters=None, history=history, mapping=None)  # type: ignore[arg-type]
        return told, tree, bits, learned

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
#: two passes tell it of the data
MAPPING = [Standardize(), Scale([1.0, 2.0, 3.0], 5.0), Centre()]
ROWS = clusters(1000)
FITS = {
    "em": lambda: made(MIXTURE, MadeSource(clusters(2000), 100), algorithm="em"),
    "accelerated": lambda: made(MIXTURE, MadeSource(overlapping(), 3000), init_sample=2000),
    "growing": lambda: made(MIXTURE, MadeSource(overlapping(), 3000), init_sample=400),
    "starts": lambda: made(
        Mixture(Gaussian(), 3, RandomRows()), MadeSource(clusters(1000), 100), 2, n_init=2,
        algorithm="em",
    ),
    "mapped": lambda: made(MIXTURE, MadeSource(ROWS, 100), 2, MAPPING, algorithm="em"),
    "closed": lambda: made(PPCA(3), MadeSource(far_from_their_start(0.0), 50)),
    "closed, nearer": lambda: made(PPCA(3), MadeSource(far_from_their_start(2.0**16), 50)),
    "closed, rejected": lambda: made(PPCA(3), without_digits()),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_what_a_monitor_was_told_of_is_kept(name: str, tmp_path: Path) -> None:
    check_killed_anywhere(FITS[name](), tmp_path)


def test_what_is_killed_is_what_it_says() -> None:
    told = {}
    for name in ("growing", "mapped", "closed, nearer", "closed, rejected"):
        trace = Trace()
        FITS[name]()(trace, None)
        told[name] = [(one.kind, one.step, one.sample_rows) for one in trace.ended]
    assert [kind for kind, _, _ in told["mapped"]] == ["moments"] * 2 + ["first"] + ["em"] * 2
    assert len({rows for _, _, rows in told["growing"] if rows}) > 1
    assert told["closed, nearer"] == [("em", "closed", 0)] * 2
    assert [step for _, step, _ in told["closed, rejected"]] == [None, "rejected", "closed"]


OTHERS: dict[str, Any] = {
    "the rows' chunks is": {"source": MadeSource(ROWS, 50)},
    "missing is error there and drop here": {"missing": "drop"},
    "the rows' mapping is not given there": {"mapping": [Scale(2.0), Standardize()]},
}


@pytest.mark.parametrize("said", OTHERS)
def test_what_was_learned_of_other_rows_is_refused(said: str, tmp_path: Path) -> None:
    """Also where the fit itself has not begun."""
    options = {"model": MIXTURE, "source": MadeSource(ROWS, 100), "mapping": [Standardize()]}
    with pytest.raises(Killed):
        made(**options)(Trace(1), tmp_path / "ck")
    trace = Trace()
    with pytest.raises(ArchiveError, match=f"is that of another fit: .*{said}"):
        made(**(options | OTHERS[said]))(trace, tmp_path / "ck")
    assert not trace.begun
    made(**options)(trace, tmp_path / "ck")
    assert trace.begun[0] == "first"


def test_a_fit_that_learned_nothing_is_another_fit(tmp_path: Path) -> None:
    source, trace = MadeSource(ROWS, 100), Trace()
    made(MIXTURE, source, 2)(Monitor(), tmp_path / "ck")
    with pytest.raises(ArchiveError, match="pass 1 for means and deviations is not given there"):
        made(MIXTURE, source, 2, [Standardize()])(trace, tmp_path / "ck")
    with pytest.raises(ArchiveError, match="the rows' chunks is"):
        made(MIXTURE, MadeSource(ROWS, 50), 2, [Standardize()])(trace, tmp_path / "ck")
    assert not trace.begun


def test_a_fit_that_learned_something_and_one_that_does_not(tmp_path: Path) -> None:
    source = MadeSource(ROWS, 100)
    made(MIXTURE, source, 2, [Standardize()])(Monitor(), tmp_path / "ck")
    for mapping in ([Standardize(features=[0])], None):
        trace = Trace()
        with pytest.raises(ArchiveError, match="the rows' mapping is"):
            made(MIXTURE, source, 2, mapping)(trace, tmp_path / "ck")
        assert not trace.begun
