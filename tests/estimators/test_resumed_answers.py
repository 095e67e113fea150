"""Answers that estimators write with a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr

from dask_em import PPCA, ArchiveError, GaussianMixture, InputError, SourceError
from dask_em.engine.done import Done
from dask_em.engine.monitor import Monitor
from dask_em.estimators.resuming import checkpoint_at
from dask_em.estimators.rows import Selection
from dask_em.place import parse_place
from tests.faults.resumable_answers import ROWS, answer, files_of, model, prepare

FORMS = ["zarr", "parquet"]


@pytest.fixture(scope="module")
def fitted() -> GaussianMixture:
    return model()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rows that are answered in sixteen tasks."""
    for name in ("engine.plan.KEPT_TASK_BYTES", "sources.tiling.TARGET_BYTES"):
        monkeypatch.setattr(f"dask_em.{name}", 100 * 3 * 8)
    prepare(tmp_path)
    for name in ("plain", "out"):
        (tmp_path / name).mkdir()
    with dask.config.set(scheduler="synchronous"):
        yield tmp_path


class Told(Monitor):
    n_tasks = ended = 0

    def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
        self.n_tasks += n_tasks

    def advance(self) -> None:
        self.ended += 1


def broken(after: int, patch: pytest.MonkeyPatch, work: Any) -> None:
    """Do work in which no task is kept as done after so many."""
    keep, left = Done.keep, iter(range(after))

    def counted(*arguments: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        keep(*arguments)

    with patch.context() as context:
        context.setattr(Done, "keep", counted)
        with pytest.raises(KeyboardInterrupt):
            work()


@pytest.mark.parametrize("form", FORMS)
def test_the_same_files_wherever_it_was_broken_off(
    form: str, fitted: GaussianMixture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(fitted, folder, form, folder / "plain", keep=False)
    for after in (0, 1, 9, 15):
        broken(after, monkeypatch, lambda: answer(fitted, folder, form, folder / "out"))
        told = Told()
        tally = answer(fitted, folder, form, folder / "out", monitor=told)
        assert (tally.rows, told.n_tasks, told.ended) == (len(ROWS), 16, 16)
        assert files_of(folder / "out") == files_of(folder / "plain")
        shutil.rmtree(folder / "out")
        (folder / "out").mkdir()


@pytest.mark.parametrize("form", FORMS)
def test_whole_outputs_are_found_and_left_alone(
    form: str, fitted: GaussianMixture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, told = folder / "out", Told()
    tally = answer(fitted, folder, form, out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert answer(fitted, folder, form, out, monitor=told) == tally
    assert told.n_tasks == told.ended == 16
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps
    before = files_of(out)
    for name in ("l", "d"):
        shutil.rmtree(out / name, ignore_errors=True)
    assert answer(fitted, folder, form, out).rows == len(ROWS)  # written anew
    assert files_of(out) == before


@pytest.mark.parametrize("form", FORMS)
def test_what_others_put_at_an_output_is_not_taken_for_it(
    form: str, fitted: GaussianMixture, folder: Path
) -> None:
    out = folder / "out"
    answer(fitted, folder, form, out)
    before = files_of(out)
    answer(model(500), folder, f"{form}-over", out, keep=False)
    others = files_of(out)
    assert others != before
    with pytest.raises(SourceError, match="overwrite=True"):
        answer(fitted, folder, form, out)
    assert files_of(out) == others
    answer(fitted, folder, f"{form}-over", out)
    assert files_of(out) == before


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nth", [0, 7, 15])
def test_two_processes_that_make_the_same_call(
    nth: int, form: str, fitted: GaussianMixture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them is overtaken by the other after so many tasks: both find the answers whole."""
    answer(fitted, folder, form, folder / "plain", keep=False)
    keep, left = Done.keep, iter(range(nth))

    def overtaken(*arguments: Any) -> None:
        if next(left, None) is None:
            monkeypatch.setattr(Done, "keep", keep)
            answer(fitted, folder, form, folder / "out")
        keep(*arguments)

    monkeypatch.setattr(Done, "keep", overtaken)
    tally = answer(fitted, folder, form, folder / "out")
    assert Done.keep is keep
    assert tally.rows == len(ROWS)
    assert files_of(folder / "out") == files_of(folder / "plain")


def test_rows_that_were_written_to_are_refused(
    fitted: GaussianMixture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "out"
    broken(4, monkeypatch, lambda: answer(fitted, folder, "zarr", out))
    zarr.open_array(folder / "rows.zarr")[800] = 9
    with pytest.raises(ArchiveError, match="another prediction: .*the rows' last change is"):
        answer(fitted, folder, "zarr", out)


def test_other_calls_are_refused(fitted: GaussianMixture, folder: Path) -> None:
    rows, kept = folder / "rows.zarr", {"checkpoint": folder / "ck"}
    fitted.write_predictions(rows, folder / "l", **kept)
    for wanted in ({}, {"log_density": folder / "d"}):
        with pytest.raises(ArchiveError, match="of another prediction: .*(place|answers) .* here"):
            fitted.write_predictions(rows, folder / "other", **wanted, **kept)
    with pytest.raises(ArchiveError, match=r"another prediction: .*parameters\.weights is"):
        model(500).write_predictions(rows, folder / "l", overwrite=True, **kept)


def test_a_call_that_is_refused_leaves_no_checkpoint(fitted: GaussianMixture, folder: Path) -> None:
    with pytest.raises(SourceError, match="overwrite=True"):
        fitted.write_predictions(folder / "rows.zarr", folder / "rows", checkpoint=folder / "ck")
    assert not (folder / "ck").exists()


@pytest.mark.parametrize("checkpoint", ["l", "l/ck", "."])
def test_a_checkpoint_lies_apart_from_outputs(
    checkpoint: str, fitted: GaussianMixture, folder: Path
) -> None:
    with pytest.raises(InputError, match="give the checkpoint a folder of its own"):
        fitted.write_predictions(folder / "rows.zarr", folder / "l", checkpoint=folder / checkpoint)


def test_rows_in_memory(fitted: GaussianMixture, folder: Path) -> None:
    for _ in range(2):
        fitted.write_predictions(ROWS, folder / "l", checkpoint=folder / "ck")
    found = zarr.open_array(folder / "l", path="class")
    np.testing.assert_array_equal(found[:], fitted.predict(ROWS))


def test_a_place_needs_no_options(folder: Path) -> None:
    """Whoever calls for others has opened it already, with its own."""
    place, options = parse_place(folder / "ck"), {"storage_options": {"anon": True}}
    assert Selection(**options).checkpoint(place, str(folder / "rows")) is place
    assert checkpoint_at(place, folder / "l", options, str(folder / "rows"), options) is place


@pytest.mark.parametrize("method", ["write_scores", "write_filled"])
def test_latent_answers(method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latent = PPCA(2, random_state=0).fit(ROWS)
    write, rows = getattr(latent, method), folder / "rows.zarr"
    write(rows, folder / "plain" / "l")
    options = {"checkpoint": folder / "out" / "ck"}
    broken(3, monkeypatch, lambda: write(rows, folder / "out" / "l", **options))
    write(rows, folder / "out" / "l", **options)
    assert files_of(folder / "out") == files_of(folder / "plain")


def test_on_a_cluster(
    fitted: GaussianMixture, folder: Path, monkeypatch: pytest.MonkeyPatch, client: Any
) -> None:
    """What was begun in this process ends on workers."""
    for form in FORMS:
        for name in ("plain", "out"):
            shutil.rmtree(folder / name)
            (folder / name).mkdir()
        answer(fitted, folder, form, folder / "plain", keep=False)
        work = {"client": client} if form == "zarr" else {}
        with monkeypatch.context() as here:
            here.setattr("dask_em.engine.runner._found_client", lambda: None)
            broken(5, monkeypatch, lambda form=form: answer(fitted, folder, form, folder / "out"))
        assert answer(fitted, folder, form, folder / "out", **work).rows == len(ROWS)
        assert files_of(folder / "out") == files_of(folder / "plain")
