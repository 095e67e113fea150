"""Fits of principal component analysers to a source: each algorithm ends at an optimum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import dask_em
from dask_em import Block, Mixture, Outcome, Stopping
from dask_em.core.em import fit
from dask_em.models.ppca_emission import PrincipalComponents
from dask_em.models.seeding import KMeans
from tests.models import analysers as paper
from tests.models.bare import Bare

K, D, Q = 3, 6, 2
MODEL = Mixture(PrincipalComponents(Q), K, KMeans())


def overlapping(n: int) -> np.ndarray:
    """Rows of components so near to each other that EM takes many passes."""
    truth = paper.planted(K, D, Q, seed=2, apart=0.7)
    some: Any = truth.components
    blurred = replace(some, loadings=0.6 * some.loadings, noise_variances=np.array([0.6, 1.0, 1.4]))
    rng = np.random.default_rng(1)
    return rng.permutation(MODEL.sample(n, replace(truth, components=blurred), rng)[0])


@pytest.mark.parametrize("algorithm", ["em", "accelerated"])
def test_fits_of_a_source(algorithm: str) -> None:
    rows = overlapping(20_000)
    stopping = Stopping(1e-8, 500) if algorithm == "em" else Stopping(1e-3, 60, tol_gap=1e-9)
    rng = np.random.default_rng(0)
    found = dask_em.fit(
        MODEL, rows, algorithm=algorithm, rng=rng, stopping=stopping, init_sample=6000
    )
    assert found.outcome is Outcome.CONVERGED
    on = fit(MODEL, Block(rows), found.parameters, Stopping(0, 30)).last
    assert on.objective - found.objective < 1e-6
    if algorithm == "em":
        assert len(found.objectives) > 40
    else:
        assert len(found.objectives) <= 8
        assert "corrected" in {record.step for record in found.history}


def test_extrapolation_stays_with_analysers() -> None:
    """Without a geometry all numbers are extrapolated: loadings and noise, never covariances."""
    rows = overlapping(4000)
    found, plain = (
        dask_em.fit(
            one,
            rows,
            algorithm=algorithm,
            rng=np.random.default_rng(0),
            stopping=Stopping(0, 20),
        )
        for one, algorithm in ((Bare(MODEL), "accelerated"), (MODEL, "em"))
    )
    assert "extrapolated" in {record.step for record in found.history}
    assert (np.diff(found.objectives) > -1e-10).all()
    assert found.objective > plain.objective + 1e-4
    some: Any = found.parameters.components
    for j in range(K):
        values = np.linalg.eigvalsh(some.analyser(j).covariance)
        assert_allclose(values[: D - Q], some.noise_variances[j], rtol=1e-9)
