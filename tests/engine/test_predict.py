from __future__ import annotations

import numpy as np
import pytest

from dask_em import DataError, Gaussian, Mixture, SchemaError, Stopping
from dask_em.core.block import Block, Missing
from dask_em.core.em import fit
from dask_em.engine.predict import Label, LogDensity, Prediction, Probability, lazily, now, write
from dask_em.models.seeding import KMeans
from dask_em.sources.arrays import NumpySource
from dask_em.sources.dask import DaskSource
from tests.engine.sources import clusters

ROWS = clusters(1200)
MIXTURE = Mixture(Gaussian(), 3, KMeans())
PARAMETERS = fit(
    MIXTURE,
    Block(ROWS),
    MIXTURE.initialize(Block(ROWS), np.random.default_rng(0)),
    Stopping(1e-4, 100),
).parameters


def prediction(kind, missing="error", floats=np.float64):
    return Prediction(kind(MIXTURE, PARAMETERS, np.dtype(floats)), Missing(missing))


def test_answers_are_those_of_the_model():
    shares, density = MIXTURE.posterior(Block(ROWS), PARAMETERS)
    source = NumpySource(ROWS)
    np.testing.assert_array_equal(now(source, prediction(Probability)), shares)
    np.testing.assert_array_equal(now(source, prediction(LogDensity)), density)
    np.testing.assert_array_equal(now(source, prediction(Label)), shares.argmax(axis=1))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("kind", [Label, Probability, LogDensity])
def test_lazy_answers_keep_shape_and_chunks(kind):
    import dask.array as da

    cube = ROWS.reshape(10, 12, 10, 3)
    lazy = lazily(DaskSource(da.from_array(cube, (3, 5, 10, 3))), prediction(kind))
    here = now(NumpySource(cube), prediction(kind))
    assert lazy.shape == here.shape
    assert lazy.chunks[:3] == ((3, 3, 3, 1), (5, 5, 2), (10,))
    assert lazy.dtype == here.dtype
    np.testing.assert_allclose(lazy.compute(scheduler="sync"), here, rtol=1e-12)


def test_rows_with_nan_are_marked():
    rows = ROWS.copy()
    rows[5, 1] = np.nan
    labels = now(NumpySource(rows), prediction(Label, "drop"))
    density = now(NumpySource(rows), prediction(LogDensity, "drop"))
    assert list(np.flatnonzero(labels == -1)) == [5]
    assert list(np.flatnonzero(np.isnan(density))) == [5]
    with pytest.raises(DataError, match="1 of .* rows"):
        now(NumpySource(rows), prediction(Label))


def test_unknown_chunks_need_their_sizes():
    import dask.array as da

    array = da.from_array(ROWS, (100, 3))
    unknown = array[array[:, 0] > 0]
    with pytest.raises(SchemaError, match="compute_chunk_sizes"):
        lazily(DaskSource(unknown), prediction(Label))


def test_writing_reads_once_and_writes_each_region_once():
    class Memory:
        def __init__(self):
            self.found = np.full(len(ROWS), -7)

        def write(self, region, values):
            assert (self.found[region] == -7).all()
            self.found[region] = values

    output = Memory()
    tally = write(NumpySource(ROWS), ((prediction(Label), output),))
    np.testing.assert_array_equal(output.found, now(NumpySource(ROWS), prediction(Label)))
    assert tally.rows == len(ROWS)
    assert tally.nbytes == ROWS.nbytes
