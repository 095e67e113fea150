"""Spans in which a matrix is known, and the bound on how much of them is remembered."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dask_em.core import krylov
from dask_em.core.block import Block
from dask_em.core.em import Iterate
from dask_em.core.krylov import KrylovEM
from dask_em.core.records import Array
from dask_em.core.span import Span
from dask_em.models.frame import Frame
from dask_em.models.ppca import PPCA
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_products import PPCAProducts
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
    beginnings = model.spectral().beginnings(start, block.take(slice(200)), rng)
    starts = [Iterate(one, model.expect(block, one)) for one in beginnings]
    assert len(starts) == 2
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


class Known:
    """The engine's part, on rows whose covariance is diagonal and whose optimum is known."""

    def __init__(self, values: Array, q: int, start: Array | None = None) -> None:
        self.values, self.d = np.sort(values)[::-1], len(values)
        self.spectral = StreamingPPCA(q).spectral()
        self.frame = Frame(np.zeros(self.d), np.ones(self.d))
        noise, leading = float(self.values[q:].mean()), np.eye(self.d)[:, :q]
        nothing = PPCAParameters(np.zeros(self.d), np.zeros((self.d, q)), noise, self.frame)
        top = self.spectral.optimum(self.values[:q], leading, self.expect(nothing))
        self.best = self.expect(top).log_likelihood
        rng = np.random.default_rng(0)
        start = rng.normal(size=(self.d, q)) if start is None else start
        beside = np.linalg.qr(rng.normal(size=(self.d, 2 * q)))[0] * np.sqrt(noise)
        self.starts = [
            PPCAParameters(np.zeros(self.d), one, noise, self.frame) for one in (start, beside)
        ]

    def expect(self, at: PPCAParameters) -> PPCAProducts:
        loadings = at.framed.loadings
        products = self.values[:, None] * loadings
        return PPCAProducts._made(1.0, np.zeros(self.d), float(self.values.sum()), products, at)

    def gaps(self, n_passes: int) -> Iterator[tuple[float, float]]:
        """What is said of the distance to the optimum after each pass, and what it is."""
        algorithm = KrylovEM(self.spectral)
        found = [Iterate(one, self.expect(one)) for one in self.starts]
        iterate, memory = found[0], algorithm.begun(algorithm.begin(), found)
        for _ in range(n_passes):
            proposal = algorithm.propose(iterate, memory)
            assert proposal.gap is not None
            assert proposal.conclusion is not None
            yield proposal.gap, self.best - self.expect(proposal.conclusion).log_likelihood
            tried = [one.parameters for one in proposal.candidates]
            found = [Iterate(one, self.expect(one)) for one in tried]
            memory = algorithm.learned(proposal.memory, iterate, found, [0.0] * len(found))
            iterate = found[0]


PLACES = np.arange(1, 601.0)
SPECTRA = {
    "1 / k": (1 / PLACES, 5),
    "slowly falling": (PLACES**-0.1, 3),
    "more alike than are wanted": (np.r_[np.full(12, 10.0), np.linspace(1, 0.9, 588)], 5),
    "one above many": (np.r_[1.2, 1 + 0.1 * PLACES[1:] ** -0.5], 1),
    "as of noise": ((np.linspace(0, 1, 600) ** 0.5 * 2 + 0.01) ** 2, 5),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_the_gap_is_neither_much_too_small_nor_much_too_large(name: str) -> None:
    known = Known(*SPECTRA[name])
    told = [(said, true) for said, true in known.gaps(30) if true > 1e-9]
    assert len(told) >= 3
    assert told[0][0] == np.inf  # residuals alone tell nothing of what no pass has touched
    ratios = np.array([said / true for said, true in told[2:]])
    assert ratios.min() > 0.5
    assert ratios.max() < 2.5


def test_a_first_promise_does_not_end_a_fit() -> None:
    # hardly more than eigenvectors, but not of the leading ones: residuals are small
    start = np.zeros((600, 5))
    start[100:105] = np.eye(5)
    start += 1e-7 * np.random.default_rng(0).normal(size=start.shape)
    known = Known(1 / PLACES, 5, start)
    known.starts = known.starts[:1]
    gap, true = next(known.gaps(1))
    assert true > 10
    assert gap == np.inf
