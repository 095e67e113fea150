"""Parquet that is written while workers die, and cannot be read in parts."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster

from dask_em import GaussianMixture
from dask_em.core.records import Array
from dask_em.engine.query import Label
from dask_em.errors import SourceError
from dask_em.estimators import writing

RNG = np.random.default_rng(4)
N = 4000
ROWS = RNG.normal(size=(N, 2)) + 5 * RNG.integers(2, size=(N, 1))


@dataclass(frozen=True)
class Deadly(Label):
    """Asking for some rows kills the process, once."""

    died: str = field(default="")

    def ask(self, posterior: Any) -> Array:
        path = Path(self.died)
        # in the middle of the file that is written second by some task
        if len(posterior.log_density) == 130 and not path.exists():
            path.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().ask(posterior)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Six files of row groups of 100 rows, but for one."""
    home = tmp_path / "in"
    home.mkdir()
    table = pa.table({"id": np.arange(N), "a": ROWS[:, 0], "b": ROWS[:, 1]})
    for number in range(6):
        with pq.ParquetWriter(home / f"{number}.parquet", table.schema) as writer:
            for group in range(6):
                start = number * 640 + group * 100
                length = 130 if (number, group) == (3, 4) else 100
                writer.write_table(table.slice(start, length))
    return home


@pytest.fixture
def model() -> GaussianMixture:
    return GaussianMixture(2, random_state=0).fit(pd.DataFrame(ROWS, columns=["a", "b"]))


@pytest.fixture(autouse=True)
def _row_groups_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_em.sources.parquet.layout.JOINED_BYTES", 1000)


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.filterwarnings("ignore")  # of processes that are gone
def test_a_worker_is_killed_while_it_writes(
    home: Path, model: GaussianMixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.write_predictions(home, tmp_path / "whole", keys=["id"])
    original = writing.prediction_of

    def deadly(*given: Any) -> Any:
        found = original(*given)
        (query,) = found.queries
        deadly = Deadly(query.size, query.floats, str(tmp_path / "died"))
        object.__setattr__(found, "queries", (deadly,))
        return found

    monkeypatch.setattr(writing, "prediction_of", deadly)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        Client(cluster) as client,
    ):
        model.write_predictions(home, tmp_path / "out", keys=["id"], client=client)
    assert (tmp_path / "died").exists()
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_place_that_is_full_gets_nothing(
    home: Path, model: GaussianMixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pq.ParquetWriter.write_table
    written = []

    def full(self: Any, table: Any, **options: Any) -> None:
        written.append(len(table))
        if len(written) == 9:
            raise OSError(28, "No space left on device")
        original(self, table, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(SourceError, match="out cannot be written.*No space left"):
        model.write_predictions(home, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
