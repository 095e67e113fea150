"""Predictions of stores that are damaged, on a cluster."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
import zarr

from dask_em import ChunkError, GaussianMixture
from tests.engine.sources import clusters

ROWS = clusters(6400)


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "rows.zarr"
    array = zarr.create_array(path, shape=ROWS.shape, chunks=(100, 3), dtype="f8")
    array[...] = ROWS
    for chunk in (7, 40):
        (path / "c" / str(chunk) / "0").write_bytes(b"not zstd")
    return path


@pytest.fixture
def model():
    return GaussianMixture(3, random_state=0, on_bad_chunk="skip").fit(ROWS)


def expected(model):
    labels = model.predict(ROWS)
    labels[700:800] = labels[4000:4100] = -1
    return labels


@pytest.fixture(autouse=True)
def _cells_of_four_chunks(monkeypatch):
    monkeypatch.setattr("dask_em.sources.tiling.TARGET_BYTES", 400 * 3 * 8)


def test_labels_that_workers_write(client, store, model, tmp_path):
    with pytest.warns(UserWarning, match="2 chunks could not be read"):
        tally = model.write_predictions(store, tmp_path / "labels.zarr", client=client)
    assert (tally.rows, tally.bad_chunks) == (6200, 2)
    labels = zarr.open_array(tmp_path / "labels.zarr", path="class")
    np.testing.assert_array_equal(labels[:], expected(model))


def test_a_bad_chunk_that_is_not_skipped_leaves_no_output(client, store, model, tmp_path):
    model.on_bad_chunk = "raise"
    with pytest.raises(ChunkError, match="c/7/0|c/40/0"):
        model.write_predictions(store, tmp_path / "labels.zarr", client=client)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.zarr"]


def test_the_client_hears_of_chunks_that_workers_skip(client, store, model):
    labels = model.predict(store)
    assert labels.npartitions == 16
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = labels.compute()
        deadline = time.monotonic() + 10
        while len(seen) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    np.testing.assert_array_equal(found, expected(model))
    places = {str(warning.message).split("[")[1].split("]")[0] for warning in seen}
    assert places == {"400:800", "4000:4400"}
