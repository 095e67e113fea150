"""Sweeps that are killed, and go on to the same bits."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client
from sklearn.exceptions import ConvergenceWarning

import dask_em
from dask_em import ArchiveError, DegenerateError, SourceError, Standardize, sweep
from dask_em.engine.kept import KeptPass
from dask_em.engine.mending import MOST_RESEEDS
from dask_em.engine.monitor import Monitor
from dask_em.models.mixture import Mixture
from dask_em.sources.registry import open_source
from tests.engine.sources import MadeSource, overlapping
from tests.engine.traces import Killed, Trace, check_killed_anywhere, timeless
from tests.estimators.test_sweep import collapsing, rows

ROWS = rows()


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_em.engine.sample.SAMPLE_ROWS", 1000)


def swept(data: Any, n_components: Any, **options: Any) -> Callable[[Monitor, Any], Any]:
    """What sweeps anew, and returns all but the time that it took."""

    def run(monitor: Monitor, checkpoint: Any) -> Any:
        given = {"random_state": 0, "algorithm": "em", **options}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = sweep(data, n_components, checkpoint=checkpoint, monitor=monitor, **given)
        best = found.best
        tree, arrays = best._parameters.flatten()
        return (
            repr(found.candidates),
            [timeless(one) for one in found.history],
            [timeless(one) for one in best.history_],
            (best.outcome_, best.lower_bounds_, repr(best.mapping_), tree),
            {name: one.tobytes() for name, one in arrays.items()},
        )

    return run


def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three components fail after the first pass over all rows."""
    before = Mixture.maximize

    def maximize(self: Any, statistics: Any) -> Any:
        if statistics.mass == 3000 and len(statistics.counts) == 3:
            raise DegenerateError("component 1 is singular (scripted)")
        return before(self, statistics)

    monkeypatch.setattr(Mixture, "maximize", maximize)


def places() -> np.ndarray:
    """Rows at four places: components that find none are moved, but not for ever."""
    rng = np.random.default_rng(3)
    return (5 * rng.normal(size=(4, 3)))[rng.integers(4, size=2000)]


SOURCE = MadeSource(ROWS, 300)
JOINED = ("full", "tied", "diag", "spherical")
SWEEPS: dict[str, Callable[[], Any]] = {
    "of one structure": lambda: swept(SOURCE, (1, 3, 5), covariance_type="full", max_iter=12),
    "that join": lambda: swept(SOURCE, (2, 3), covariance_type=JOINED, max_iter=4),
    "accelerated": lambda: swept(
        MadeSource(overlapping(12_000), 1000), (2, 3), algorithm="accelerated", max_iter=4
    ),
    "of several starts": lambda: swept(SOURCE, 4, n_init=2, tol=1e-5, max_iter=3),
    "whose components are moved": lambda: swept(
        MadeSource(places(), 500), 6, covariance_type="diag", init_params="random_from_data",
        tol=0.0, max_iter=6,
    ),
    "that learn": lambda: swept(SOURCE, 3, mapping=[Standardize()], max_iter=3),
    "with failures at the start": lambda: swept(
        MadeSource(collapsing(), 100), range(1, 4), degenerate="raise", reg_covar=0.0, max_iter=3
    ),
}  # fmt: skip


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("name", SWEEPS)
def test_killed_after_any_pass(name: str, tmp_path: Path) -> None:
    check_killed_anywhere(SWEEPS[name](), tmp_path)


@pytest.mark.usefixtures("small_sample")
def test_components_are_moved_until_that_is_enough() -> None:
    whole = Trace()
    SWEEPS["whose components are moved"]()(whole, None)
    moved = [any("moved" in one.action for one in record.repairs) for record in whole.ended]
    assert sum(moved) == MOST_RESEEDS
    assert len(moved) > 1 + MOST_RESEEDS


@pytest.mark.usefixtures("small_sample")
def test_members_that_fail_between_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch)
    run = swept(SOURCE, (2, 3, 4), covariance_type="full", tol=1e-4, max_iter=6)
    check_killed_anywhere(run, tmp_path)
    assert "singular (scripted)" in run(Monitor(), tmp_path / "whole")[0]


@pytest.mark.usefixtures("small_sample")
def test_a_sample_that_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_em.engine.sample.ROWS_PER_PARAMETER", 40)
    options = {"covariance_type": "full", "algorithm": "accelerated", "max_iter": 3}
    run = swept(MadeSource(overlapping(12_000), 1000), (1, 3), **options)
    whole = Trace()
    run(whole, None)
    assert len({one.sample_rows for one in whole.ended if one.sample_rows}) > 1
    check_killed_anywhere(run, tmp_path)


@pytest.mark.usefixtures("small_sample")
def test_on_a_cluster(client: Client, tmp_path: Path) -> None:
    options = {"covariance_type": "full", "max_iter": 5, "tol": 1e-6}
    expected = swept(SOURCE, (2, 4), client=client, **options)(Monitor(), None)
    with pytest.raises(Killed):
        swept(SOURCE, (2, 4), client=client, **options)(Trace(3), tmp_path / "ck")
    here = Trace()
    found = swept(SOURCE, (2, 4), **options)(here, tmp_path / "ck")
    assert len(here.begun) == len(expected[1]) - 3
    same_tasks = [[replace(one, n_tasks=0) for one in each[1]] for each in (found, expected)]
    assert same_tasks[0] == same_tasks[1]
    assert found[0] == expected[0]
    assert found[3:] == expected[3:]


@pytest.mark.usefixtures("small_sample")
def test_more_passes_of_a_sweep_that_had_too_few(tmp_path: Path) -> None:
    options = {"covariance_type": "full", "tol": 1e-6}
    swept(SOURCE, (2, 4), max_iter=2, **options)(Monitor(), tmp_path / "ck")
    expected = swept(SOURCE, (2, 4), max_iter=6, **options)(Monitor(), None)
    assert swept(SOURCE, (2, 4), max_iter=6, **options)(Monitor(), tmp_path / "ck") == expected


@pytest.mark.usefixtures("small_sample")
def test_without_a_seed_chance_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    run = swept(SOURCE, (3, 5), random_state=None, max_iter=3, tol=0.0)
    with pytest.raises(Killed):
        run(Trace(2), tmp_path / "ck")
    assert run(Monitor(), tmp_path / "ck") == run(Monitor(), tmp_path / "ck")


@pytest.mark.usefixtures("small_sample")
def test_what_has_ended_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dask_em.engine import checkpoint as module

    written: list[list[int]] = []
    before = module.Checkpoint.keep_pass

    def watched(self: Any, kept: KeptPass) -> KeptPass:
        written.append([i for i, one in enumerate(kept.members) if one is not None])
        return before(self, kept)

    monkeypatch.setattr(module.Checkpoint, "keep_pass", watched)

    def run(monitor: Monitor) -> Any:
        return sweep(
            SOURCE, range(1, 5), covariance_type="full", algorithm="em", random_state=0,
            tol=1e-5, max_iter=12, checkpoint=tmp_path / "ck", monitor=monitor,
        )  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.raises(Killed):
            run(Trace(5))
        found = run(Monitor())
    taken = [one.n_passes for one in found.candidates]
    expected = [[i for i, n in enumerate(taken) if n > done] for done in range(max(taken))]
    assert written == expected
    assert written[0] == [0, 1, 2, 3]
    assert len(written[-1]) < 4
    there = {name for name in os.listdir(tmp_path / "ck") if name.startswith("pass-")}
    assert there == {f"pass-{n:06d}" for n in taken}


@pytest.mark.usefixtures("small_sample")
def test_a_pass_that_was_taken_away_is_missed(tmp_path: Path) -> None:
    run = swept(SOURCE, (1, 3), covariance_type="full", tol=1e-5, max_iter=12)
    run(Monitor(), tmp_path / "ck")
    first = min(name for name in os.listdir(tmp_path / "ck") if name.startswith("pass-"))
    shutil.rmtree(tmp_path / "ck" / first)
    with pytest.raises(ArchiveError, match=f"lacks {first}, .*; restore it, or give a path where"):
        run(Monitor(), tmp_path / "ck")


OTHERS: dict[str, dict[str, Any]] = {
    r"model.models\[1\].n_components is 3 there and 4 here": {"n_components": (2, 4)},
    r"model.models\[2\] is not given there and Mixture here.*; \d+ more; go on": {"n_init": 2},
    "structure is Full there and Diagonal here": {"covariance_type": "diag"},
    "algorithm is em there and accelerated here": {"algorithm": "accelerated"},
    "the rows' chunks": {"data": MadeSource(ROWS, 200)},
    "missing is error there and drop here": {"missing": "drop"},
    "rng is": {"random_state": 1},
}


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("said", OTHERS)
def test_a_checkpoint_of_another_sweep_is_refused(said: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "data": SOURCE, "n_components": (2, 3), "covariance_type": "full", "max_iter": 2
    }  # fmt: skip
    swept(**options)(Monitor(), tmp_path / "ck")
    trace = Trace()
    with pytest.raises(ArchiveError, match=f"of another fit: .*{said}.*path where nothing is"):
        swept(**options | OTHERS[said])(trace, tmp_path / "ck")
    assert not trace.begun


def test_a_sweep_and_a_fit_are_different(tmp_path: Path) -> None:
    dask_em.GaussianMixture(2, random_state=0).fit(ROWS, checkpoint=tmp_path / "ck")
    with pytest.raises(ArchiveError, match="model is Mixture there and Together here"):
        swept(ROWS, 2)(Monitor(), tmp_path / "ck")


class Writing(Monitor):
    """Somebody writes to the store in a pass."""

    def __init__(self, store: Path, kind: str) -> None:
        self.store, self.kind = store, kind

    def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
        if kind == self.kind:
            zarr.open_array(self.store)[5, 0] = 7.0


@pytest.mark.parametrize("kind", ["first", "em"])
def test_rows_that_change_under_a_sweep_are_refused(kind: str, tmp_path: Path) -> None:
    store = tmp_path / "x.zarr"
    zarr.create_array(store, data=ROWS, chunks=(300, 2), compressors=None)
    with pytest.raises(SourceError, match="bytes is .* before and .* now"):
        swept(open_source(store), (2, 3))(Writing(store, kind), tmp_path / "ck")
    assert not [name for name in os.listdir(tmp_path / "ck") if name.startswith("pass-")]
