from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from dask_em import ChunkError, DataError, Gaussian, Mixture, SchemaError, Stopping
from dask_em.core.block import Block, Missing
from dask_em.core.em import fit
from dask_em.engine.predict import Prediction, lazily, now
from dask_em.engine.query import Label, LogDensity, Probability
from dask_em.engine.stream import Reading
from dask_em.engine.writing import Output, write
from dask_em.models.seeding import KMeans
from dask_em.sources.arrays import NumpySource
from dask_em.sources.dask import DaskSource
from tests.engine.sources import MadeSource, Script, clusters

ROWS = clusters(1200)
MIXTURE = Mixture(Gaussian(), 3, KMeans())
PARAMETERS = fit(
    MIXTURE,
    Block(ROWS),
    MIXTURE.initialize(Block(ROWS), np.random.default_rng(0)),
    Stopping(1e-4, 100),
).parameters


def prediction(source, *kinds, missing="error", model=MIXTURE, on_bad_chunk="raise"):
    queries = tuple(kind(3, source.schema.dtype) for kind in kinds)
    reading = Reading(source.schema, Missing(missing), on_bad_chunk)
    return Prediction(model, PARAMETERS, queries, reading)


def answered(source, kind, **options):
    return now(source, prediction(source, kind, **options))[0]


def test_answers_are_those_of_the_model():
    shares, density = MIXTURE.posterior(Block(ROWS), PARAMETERS)
    source = NumpySource(ROWS)
    np.testing.assert_array_equal(answered(source, Probability), shares)
    np.testing.assert_array_equal(answered(source, LogDensity), density)
    np.testing.assert_array_equal(answered(source, Label), shares.argmax(axis=1))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("kind", [Label, Probability, LogDensity])
def test_lazy_answers_keep_shape_and_chunks(kind):
    import dask.array as da

    cube = ROWS.reshape(10, 12, 10, 3)
    source = DaskSource(da.from_array(cube, (3, 5, 10, 3)))
    lazy = lazily(source, prediction(source, kind))
    here = answered(NumpySource(cube), kind)
    assert lazy.shape == here.shape
    assert lazy.chunks[:3] == ((3, 3, 3, 1), (5, 5, 2), (10,))
    assert lazy.dtype == here.dtype
    np.testing.assert_allclose(lazy.compute(scheduler="sync"), here, rtol=1e-12)


def test_rows_with_nan_are_marked():
    rows = ROWS.copy()
    rows[5, 1] = np.nan
    labels = answered(NumpySource(rows), Label, missing="drop")
    density = answered(NumpySource(rows), LogDensity, missing="drop")
    assert list(np.flatnonzero(labels == -1)) == [5]
    assert list(np.flatnonzero(np.isnan(density))) == [5]
    with pytest.raises(DataError, match="1 of .* rows"):
        answered(NumpySource(rows), Label)


def test_unknown_chunks_need_their_sizes():
    import dask.array as da

    array = da.from_array(ROWS, (100, 3))
    unknown = array[array[:, 0] > 0]
    source = DaskSource(unknown)
    with pytest.raises(SchemaError, match="compute_chunk_sizes"):
        lazily(source, prediction(source, Label))


class Memory(Output):
    """An output that knows what was written where."""

    def __init__(self, *trailing):
        self.found = [np.full((len(ROWS), *axes), -7.0) for axes in trailing]

    @contextmanager
    def writing(self):
        yield self.write

    def write(self, found, answers):
        for array, values in zip(self.found, answers, strict=True):
            assert (array[found.region] == -7).all()
            array[found.region] = values


def written(source, *kinds, **options):
    output = Memory(*((3,) if kind is Probability else () for kind in kinds))
    tally = write(source, prediction(source, *kinds, **options), output)
    return tally, *output.found


def test_writing_reads_once_and_writes_each_region_once():
    source = NumpySource(ROWS)
    tally, labels = written(source, Label)
    np.testing.assert_array_equal(labels, answered(source, Label))
    assert tally.rows == len(ROWS)
    assert tally.nbytes == ROWS.nbytes


def test_outputs_share_one_posterior_that_is_made_part_by_part(monkeypatch):
    monkeypatch.setattr("dask_em.engine.predict.ASKED_ROWS", 250)
    asked = []

    class Counted:
        def posterior(self, block, parameters):
            asked.append(len(block))
            return MIXTURE.posterior(block, parameters)

    source = MadeSource(ROWS, 600, local=True)
    _, labels, shares, density = written(source, Label, Probability, LogDensity, model=Counted())
    assert asked == 2 * [250, 250, 100]
    np.testing.assert_array_equal(labels, shares.argmax(axis=1))
    np.testing.assert_allclose(density, answered(source, LogDensity), rtol=1e-12)


@pytest.mark.parametrize("kind", [Label, Probability, LogDensity])
def test_rows_of_a_chunk_that_cannot_be_read_have_no_answer(kind):
    source = MadeSource(ROWS, 500, local=True, script=Script(1, "fail"))
    expected = answered(NumpySource(ROWS), kind).astype(float)
    expected[500:1000] = -1 if kind is Label else np.nan
    here, tally = now(source, prediction(source, kind, on_bad_chunk="skip"))
    np.testing.assert_allclose(here, expected, rtol=1e-12)
    assert (tally.rows, tally.bad_chunks) == (700, 1)
    lazy = lazily(source, prediction(source, kind, on_bad_chunk="skip"))
    with pytest.warns(UserWarning, match=r"1 chunk within \[500:1000\] could not be read"):
        np.testing.assert_allclose(lazy.compute(scheduler="sync"), expected, rtol=1e-12)
    tally, found = written(source, kind, on_bad_chunk="skip")
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (tally.rows, tally.bad_chunks) == (700, 1)


def test_a_chunk_that_cannot_be_read_is_an_error_unless_it_is_skipped():
    source = MadeSource(ROWS, 500, local=True, script=Script(1, "fail"))
    with pytest.raises(ChunkError, match="chunk 1 cannot"):
        answered(source, Label)
    with pytest.raises(ChunkError, match="chunk 1 cannot"):
        lazily(source, prediction(source, Label)).compute(scheduler="sync")
    with pytest.raises(ChunkError, match="chunk 1 cannot"):
        written(source, Label)


def test_a_bad_chunk_that_lies_nobody_knows_where_is_an_error():
    source = MadeSource(ROWS, 500, local=True, script=Script(1, "fail"))
    source.schema = replace(source.schema, sample_chunks=None)
    with pytest.raises(ChunkError, match="chunk 1 cannot"):
        answered(source, Label, on_bad_chunk="skip")
