"""A model that cannot be saved is refused before the work."""

from __future__ import annotations

import pytest
import zarr

import dask_em
from tests.cli.conftest import run

both = pytest.mark.parametrize("command", ["fit", "sweep"])


@both
def test_existing_output(command: str, store: str, model: str) -> None:
    stderr = run(command, "nowhere.zarr", "-k", 2, "--out", model, code=1).stderr
    assert "pass --overwrite" in stderr  # said before the data are looked for
    run(command, store, "-k", 2, "--out", model, "--overwrite")
    assert len(dask_em.load(model).weights_) == 2


@both
def test_data_are_never_overwritten(command: str, store: str) -> None:
    stderr = run(command, store, "-k", 2, "--out", store, "--overwrite", code=1).stderr
    assert "not a dask_em model" in stderr
    assert zarr.open_array(store).shape == (40, 300, 3)


@both
def test_output_that_cannot_be_written(command: str, store: str) -> None:
    stderr = run(command, store, "-k", 2, "--out", f"{store}/zarr.json/model", code=1).stderr
    assert "no folder that you may write" in stderr
