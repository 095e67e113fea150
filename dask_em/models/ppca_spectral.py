"""Probabilistic PCA as an eigenproblem of a covariance that only products are known of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from dask_em.core.block import Block
from dask_em.core.em import check_likelihood
from dask_em.core.krylov import WIDTH, ascended
from dask_em.core.records import Array
from dask_em.core.span import Span
from dask_em.core.spectral import Spectral
from dask_em.models.frame import Frame
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import PPCAParameters
from dask_em.models.ppca_products import PPCAProducts

__all__ = ["PPCASpectral"]

#: readings of a sample, in memory, that find where a fit starts, and how near to its optimum
SAMPLE_READINGS, SAMPLE_GAP = 12, 1e-3
#: directions of the sample are worth a product where so much of them is not in a start already
ASIDE = 0.5


@dataclass(frozen=True)
class PPCASpectral(Spectral[PPCAParameters, PPCAProducts]):
    """Tipping and Bishop (1999), equations 7 and 8: the optimum in a span is as that in all of it.

    The matrix is the covariance in the frame.
    """

    n_components: int
    floor: NoiseFloor

    @property
    def n_leading(self) -> int:
        return self.n_components

    def products(self, statistics: PPCAProducts) -> tuple[Array, Array]:
        return statistics.at.framed.loadings, statistics.image

    def probe(self, directions: Array, statistics: PPCAProducts) -> PPCAParameters:
        at = statistics.at.framed
        # as long as the noise, so that float32 rows keep their digits
        lengths = np.sqrt(at.noise_variance)
        inside = PPCAParameters(statistics.mean, directions * lengths, at.noise_variance)
        return inside.outward(statistics.frame)

    def optimum(self, values: Array, vectors: Array, statistics: PPCAProducts) -> PPCAParameters:
        q, d = self.n_components, len(vectors)
        average = statistics.total / d
        noise, repaired = self.floor.apply(self._left(values, statistics), average)
        lengths = np.sqrt(np.maximum(values[:q] - noise, 0.0))
        loadings = np.zeros((d, q))  # a span may have fewer dimensions
        loadings[:, : len(lengths)] = vectors[:, :q] * lengths
        inside = PPCAParameters(statistics.mean, loadings, noise, repaired=repaired)
        return inside.rotated().outward(statistics.frame)

    def objective(self, values: Array, statistics: PPCAProducts) -> float:
        leading, noise = self._leading(values, statistics)
        d = len(statistics.first)
        within = np.log(leading).sum() + (d - len(leading)) * np.log(noise)
        # what is left out, beside a noise that a floor may have lifted
        outside = (d - len(leading)) * self._left(values, statistics) / noise
        return float(-0.5 * (within + outside))

    def gain(self, values: Array, residuals: Array, statistics: PPCAProducts) -> float:
        # a value rises by r^2 / (value - noise), and the objective by half of that times
        # 1 / noise - 1 / value
        leading, noise = self._leading(values, statistics)
        return float((residuals**2 / (2 * noise * leading)).sum())

    def of_sample(
        self, sample: Block, mean: Array, variance: float, frame: Frame, rng: Generator
    ) -> tuple[PPCAParameters, Span]:
        """The optimum of a sample in memory, and the span that it was found in."""
        m = min(WIDTH * self.n_components, sample.n_features)
        start = _sketch(mean, variance, frame, m, rng)

        def expect(parameters: PPCAParameters) -> PPCAProducts:
            (found,) = PPCAProducts.of_each(sample, [parameters])
            check_likelihood(found)
            return found

        return ascended(self, expect, start, SAMPLE_GAP, SAMPLE_READINGS)

    def beginnings(
        self, start: PPCAParameters, sample: Block, rng: Generator
    ) -> list[PPCAParameters]:
        # images of directions that hardly differ would lose their digits
        start = start.rotated()
        noise = start.noise_variance
        _, span = self.of_sample(sample, start.mean, noise, start.place, rng)
        leading = span.ritz().vectors(WIDTH * self.n_components)
        mine = np.linalg.qr(start.loadings)[0]
        left, sizes, _ = np.linalg.svd(leading - mine @ (mine.T @ leading), full_matrices=False)
        kept = left[:, sizes > ASIDE]
        if not kept.shape[1]:
            return [start]
        loadings = kept * np.sqrt(noise)
        return [start, replace(start, loadings=loadings, frame=start.place, repaired=())]

    def _left(self, values: Array, statistics: PPCAProducts) -> float:
        """Variance that the leading values leave, averaged over the dimensions that are left."""
        leading = values[: self.n_components]
        left = statistics.total - float(leading.sum())
        return left / (len(statistics.first) - len(leading))

    def _leading(self, values: Array, statistics: PPCAProducts) -> tuple[Array, float]:
        average = statistics.total / len(statistics.first)
        noise, _ = self.floor.apply(self._left(values, statistics), average)
        return np.maximum(values[: self.n_components], noise), noise


def _sketch(mean: Array, variance: float, frame: Frame, m: int, rng: Generator) -> PPCAParameters:
    """Parameters whose statistics hold the images of m random directions.

    Halko, Martinsson and Tropp (2011), section 4.1.
    """
    directions = np.linalg.qr(rng.standard_normal((len(mean), m)))[0]
    return PPCAParameters(mean, directions * np.sqrt(variance), variance, frame)
