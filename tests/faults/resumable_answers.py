"""Answers that are to be killed: a script, so that it has processes of its own.

``python -m tests.faults.resumable_answers FOLDER FORM`` kills the writing of answers before random
changes of the file system and has each go on. FORM is ``zarr`` or ``parquet``, with ``-over`` where
what is there is replaced.

``python -m tests.faults.resumable_answers FOLDER cluster`` writes them on a cluster of its own,
slowly, until it is killed.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np

from dask_em import GaussianMixture
from dask_em.engine import plan
from dask_em.engine.predict import Prediction
from dask_em.sources import tiling
from tests.engine.sources import clusters
from tests.faults.forked import changes, in_fork

ROWS = clusters(1600)


def prepare(folder: Path) -> None:
    """Rows in sixteen chunks, or as many files of one row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zarr

    zarr.create_array(folder / "rows.zarr", data=ROWS, chunks=(100, 3))
    (folder / "rows").mkdir()
    for number, part in enumerate(np.split(ROWS, 16)):
        table = pa.table(
            {"id": np.arange(100) + 100 * number, **dict(zip("abc", part.T, strict=True))}
        )
        pq.write_table(table, folder / "rows" / f"part-{number:02d}.parquet")


def model(n: int = len(ROWS)) -> GaussianMixture:
    """A rough model of the first n rows."""
    return GaussianMixture(3, random_state=0, tol=1).fit(ROWS[:n])


def small_tasks() -> None:
    """As many tasks as there are chunks, one after the other."""
    plan.KEPT_TASK_BYTES = tiling.TARGET_BYTES = 100 * 3 * 8
    dask.config.set(scheduler="synchronous")


def answer(
    fitted: GaussianMixture,
    folder: Path,
    form: str,
    out: Path,
    *,
    keep: bool = True,
    **options: Any,
) -> Any:
    """Write labels and densities, and keep how far that is."""
    options["checkpoint"] = out / "ck" if keep else None
    options["overwrite"] = form.endswith("-over")
    if form.startswith("parquet"):
        rows = folder / "rows"
        options |= {"features": list("abc"), "keys": ["id"], "log_density": True}
        return fitted.write_predictions(rows, out / "l", **options)
    options["log_density"] = out / "d"
    return fitted.write_predictions(folder / "rows.zarr", out / "l", **options)


def files_of(folder: Path) -> dict[str, bytes]:
    """All outputs of a folder, and whatever else is there beside the checkpoint."""
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith("ck/")}


@dataclass(frozen=True)
class Writing:
    """Answers in one form, in places where nothing is, or answers of another model."""

    folder: Path
    form: str
    fitted: GaussianMixture
    other: GaussianMixture

    def home(self, name: str) -> Path:
        """A folder for outputs, in which old ones are if they are to be replaced."""
        home = self.folder / name
        home.mkdir()
        if self.form.endswith("-over"):
            in_fork(lambda: answer(self.other, self.folder, self.form, home, keep=False))
            assert files_of(home)
        return home

    def whole(self, home: Path, keep: bool = True) -> str:
        """Write to the end; the rows that were answered."""
        rows = in_fork(lambda: answer(self.fitted, self.folder, self.form, home, keep=keep).rows)
        assert rows is not None
        return rows

    def until(self, home: Path, last: int | None = None) -> int | None:
        """Write and be killed before a change, or how many changes there were."""
        return changes(lambda: answer(self.fitted, self.folder, self.form, home), home, last)


def killed_anywhere(folder: Path, form: str, times: int) -> None:
    """Kill the writing at random moments, twice each, and have it go on."""
    prepare(folder)
    small_tasks()
    writing = Writing(folder, form, model(), model(500))
    plain, other = writing.home("plain"), writing.home("whole")
    before = files_of(plain)
    writing.whole(plain, keep=False)
    expected = files_of(plain)
    assert expected != before
    n = writing.until(other)
    assert n is not None
    assert files_of(other) == expected
    chance = random.Random(time.time_ns())
    for moment in sorted(chance.sample(range(1, n + 1), min(times, n))):
        home, again = writing.home(f"killed-{moment}"), chance.randint(1, n)
        made = writing.until(home, moment)
        assert made is None or made < moment, f"change {moment} of {made} was not its last"
        writing.until(home, again)
        said = writing.whole(home)
        assert said == str(len(ROWS)), f"changes {moment} and {again} of {n}: {said}"
        assert files_of(home) == expected, f"other files after changes {moment}, {again} of {n}"
    print(f"{times} of {n} moments")


def on_a_cluster(folder: Path) -> None:
    from distributed import Client, LocalCluster

    small_tasks()
    options: Any = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(host="127.0.0.1", **options) as cluster, Client(cluster) as client:
        client.run(make_slow)
        print(answer(model(), folder, "zarr", folder / "out", client=client).rows)


def make_slow() -> None:
    """Let each chunk take a while."""
    small_tasks()
    answers = Prediction.answers

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.1)
        return answers(*arguments)

    Prediction.answers = slowly  # type: ignore[method-assign]


def main(folder: str, form: str, times: str = "10") -> None:
    if form == "cluster":
        on_a_cluster(Path(folder))
    else:
        killed_anywhere(Path(folder), form, int(times))


if __name__ == "__main__":
    main(*sys.argv[1:])
