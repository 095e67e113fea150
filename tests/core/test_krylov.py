"""Spans in which a matrix is known, and the bound on how much of them is remembered."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dask_em.core import krylov
from dask_em.core.block import Block
from dask_em.core.em import Iterate
from dask_em.core.krylov import KrylovEM
from dask_em.core.records import Array
from dask_em.core.span import Span
from dask_em.models.ppca import PPCA
from dask_em.models.ppca_streaming import StreamingPPCA


def symmetric(d: int) -> Array:
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    return np.asarray((axes / np.arange(1, d + 1)) @ axes.T)


def test_a_span_grows_by_what_it_lacks() -> None:
    A, rng = symmetric(12), np.random.default_rng(1)
    some, more = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    span = Span.empty(12).widened(some, A @ some)
    more = np.hstack([more * 1e6, some @ rng.normal(size=(3, 2)), np.zeros((12, 1))])
    span = span.widened(more, A @ more)
    assert span.m == 5
    assert_allclose(span.basis.T @ span.basis, np.eye(5), atol=1e-13)
    assert_allclose(span.images, A @ span.basis, atol=1e-12)


def test_ritz_vectors_are_the_eigenvectors_within() -> None:
    A, rng = symmetric(12), np.random.default_rng(1)
    some = rng.normal(size=(12, 5))
    ritz = Span.empty(12).widened(some, A @ some).ritz()
    V = ritz.vectors(5)
    assert_allclose(V.T @ A @ V, np.diag(ritz.values), atol=1e-13)
    assert (np.diff(ritz.values) <= 0).all()
    residuals = ritz.residuals(3)
    assert_allclose(residuals, A @ V[:, :3] - V[:, :3] * ritz.values[:3], atol=1e-13)
    outward = ritz.outward(residuals)
    assert_allclose(outward.T @ np.hstack([V, outward]), np.eye(3, 8, k=5), atol=1e-12)
    kept = ritz.kept(2)
    assert_allclose(kept.images, A @ kept.basis, atol=1e-13)


def test_all_of_space_leaves_no_direction() -> None:
    A = symmetric(6)
    ritz = Span.empty(6).widened(np.eye(6), A).ritz()
    assert_allclose(ritz.values, 1 / np.arange(1, 7), rtol=1e-12)
    assert ritz.outward(ritz.residuals(4)).shape == (6, 0)


@pytest.mark.parametrize("most_bytes", [0, 1 << 30])
def test_what_is_remembered_is_bounded(most_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span that is cut to its leading vectors still leads to the optimum, upward all the way."""
    monkeypatch.setattr(krylov, "MOST_BYTES", most_bytes)
    d, q, rng = 80, 2, np.random.default_rng(0)
    rows = rng.normal(size=(2000, d)) / np.arange(1, d + 1) ** 0.1
    block, model = Block(rows), StreamingPPCA(q, "random")
    start = model.initialize(block, rng)
    algorithm = KrylovEM(model.spectral())
    iterate = Iterate(start, model.expect(block, start))
    (probe,) = model.spectral().beside(start, block.take(slice(200)), rng)
    starts = [iterate, Iterate(probe, model.expect(block, probe))]
    memory, widths, objectives = algorithm.begun(algorithm.begin(), starts), [], []
    for _ in range(40):
        proposal = algorithm.propose(iterate, memory)
        tried = [one.parameters for one in proposal.candidates]
        found = [Iterate(one, model.expect(block, one)) for one in tried]
        memory = algorithm.learned(proposal.memory, iterate, found, [0.0] * len(found))
        iterate = found[0]
        objectives.append(iterate.objective)
        widths.append(memory.span.m)
    assert max(widths) == (3 if most_bytes == 0 else 8) * 2 * q
    assert np.diff(objectives).min() > -1e-12
    closed = PPCA(q).initialize(block, rng)
    best = PPCA(q).expect(block, closed).log_likelihood / len(rows)
    assert_allclose(objectives[-1], best, rtol=0, atol=1e-9)
