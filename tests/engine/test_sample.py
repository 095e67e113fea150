from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_em.core.block import Missing
from dask_em.engine import sample as sampling
from dask_em.engine.sample import Sampling, survey_leaves
from dask_em.engine.stream import Reading
from dask_em.errors import DataError
from tests.engine.sources import MadeSource, Script, clusters


def survey(source, size, missing="error"):
    reading = Reading(source.schema, Missing(missing), with_positions=True)
    default = Sampling.of(source.schema, reading)
    share = min(1.0, 2 * size / source.schema.n_rows)
    below = np.uint64(min(int(share * 2**64), 2**64 - 1))
    chunks = range(source.schema.n_chunks)
    asked = Sampling(default.reading, size, below)
    return survey_leaves([source.partition(chunks)], asked, lambda: False)


@settings(max_examples=20)
@given(st.integers(1, 1500), st.integers(5, 2500))
def test_the_sample_does_not_depend_on_the_chunks(chunk, size):
    rows = clusters(2000)
    expected = survey(MadeSource(rows, 2000), size).sample().values
    found = survey(MadeSource(rows, chunk), size).sample().values
    np.testing.assert_array_equal(found, expected)
    assert len(found) == min(size, len(rows))


def test_a_complete_sample_is_in_the_order_of_the_data():
    rows = clusters(500)
    whole = survey(MadeSource(rows, 64), 1000)
    assert whole.complete
    np.testing.assert_array_equal(whole.sample().values, rows)


def test_a_sample_is_uniform_and_its_beginnings_are_samples():
    rows = np.arange(100_000.0)[:, None]
    found = survey(MadeSource(rows, 7000), 10_000).sample().values
    for part in (found, found[:1000]):
        assert abs(part.mean() / 50_000 - 1) < 0.05
        assert abs(part.std() / 28_868 - 1) < 0.05
    assert len(np.unique(found)) == len(found)


def test_extremes_and_counts():
    rows = clusters(1000)
    found = survey(MadeSource(rows, 90), 10)
    np.testing.assert_array_equal(found.low, rows.min(axis=0))
    np.testing.assert_array_equal(found.high, rows.max(axis=0))
    assert found.mass == 1000
    assert found.tally.rows == 1000


def test_rows_that_are_dropped_are_not_in_the_sample():
    source = MadeSource(clusters(1000), 100, script=Script(3, "nan"))
    found = survey(source, 2000, "drop")
    assert found.tally.dropped == 100
    assert found.n_kept == 900
    with pytest.raises(DataError, match=r"100 of 100 rows of chunk 3.*missing=\"drop\""):
        survey(source, 2000)


def test_the_default_size_is_bounded():
    source = MadeSource(np.zeros((10, 4000)), 10)
    size = Sampling.of(source.schema, Reading(source.schema)).size
    assert size * 4000 * 8 <= sampling.SAMPLE_BYTES


def test_when_nearly_all_rows_are_dropped_the_rest_is_found():
    from dask_em import Gaussian, Mixture
    from dask_em.engine.fit import fit
    from dask_em.models.seeding import KMeans

    rows = np.full((400_000, 1), np.nan)
    rows[[17, 200_000, 399_999], 0] = 1.0, 2.0, 3.0
    fitted = fit(Mixture(Gaussian(), 1, KMeans()), MadeSource(rows, 50_000), missing="drop")
    assert fitted.history[0].rows == 3
    assert fitted.parameters.components.means[0, 0] == pytest.approx(2.0)
