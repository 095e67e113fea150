"""The E- and the M-step of a Gaussian mixture as Bishop (2006), section 9.2.2, writes them.

Row by row, component by component, in long double, moments in two passes: slow and exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.models.emission import Kernel
from dask_em.models.gaussian import Gaussian, Gaussians, Moments
from dask_em.models.kernels import CentredKernel, LiftedGaussianKernel
from dask_em.models.mixture import MixtureParameters


@dataclass(frozen=True)
class LiftedGaussian(Gaussian):
    """Normal densities that never take the centred kernel."""

    def prepare(
        self, components: Gaussians, weights: Array, dtype: np.dtype, rows: int
    ) -> Kernel[Moments]:
        return LiftedGaussianKernel(components, weights, np.dtype(dtype), rows)


@dataclass(frozen=True)
class CentredGaussian(Gaussian):
    """Normal densities that never take the lifted kernel."""

    def prepare(
        self, components: Gaussians, weights: Array, dtype: np.dtype, rows: int
    ) -> Kernel[Moments]:
        return CentredKernel(components, weights, np.dtype(dtype), rows)


@dataclass(frozen=True)
class Step:
    """What one EM step finds."""

    log_density: Array  # (n,)
    shares: Array  # (n, k)
    log_likelihood: float
    counts: Array  # (k,)
    means: Array  # (k, d)
    covariances: Array  # in the shape of the structure


def step(block: Block, parameters: MixtureParameters) -> Step:
    components: Any = parameters.components
    structure, (k, d) = components.structure, components.means.shape
    rows = block.values.astype(np.longdouble)
    row_weights = np.ones(len(block)) if block.weights is None else block.weights
    joint = np.stack(
        [
            np.log(np.longdouble(parameters.weights[j]))
            + log_normal(rows, components.means[j], structure.dense(components.covariances, j, d))
            for j in range(k)
        ],
        axis=1,
    )
    top = joint.max(axis=1)
    log_density = top + np.log(np.exp(joint - top[:, None]).sum(axis=1))
    shares = np.exp(joint - log_density[:, None])
    weighted = shares * row_weights[:, None]
    counts = weighted.sum(axis=0)
    means = (weighted.T @ rows) / counts[:, None]
    scatter = [(weighted[:, j, None] * (rows - means[j])).T @ (rows - means[j]) for j in range(k)]
    covariances = restricted(np.stack(scatter), counts, structure.name)
    found = (log_density, shares, (row_weights * log_density).sum(), counts, means, covariances)
    return Step(*(np.asarray(one, np.float64) for one in found))


def log_normal(rows: Array, mean: Array, covariance: Array) -> Array:
    d = len(mean)
    factor = cholesky(covariance.astype(np.longdouble))
    white = (rows - mean).T.copy()
    for i in range(d):
        white[i] = (white[i] - factor[i, :i] @ white[:i]) / factor[i, i]
    log_det = 2 * np.log(np.diagonal(factor)).sum()
    two_pi = 2 * np.arccos(np.longdouble(-1))
    return -0.5 * (d * np.log(two_pi) + log_det + (white**2).sum(axis=0))


def cholesky(matrix: Array) -> Array:
    """NumPy's knows no long double."""
    factor = np.zeros_like(matrix)
    for i in range(len(matrix)):
        for j in range(i + 1):
            rest = matrix[i, j] - factor[i, :j] @ factor[j, :j]
            factor[i, j] = np.sqrt(rest) if i == j else rest / factor[j, j]
    return factor


def restricted(scatter: Array, counts: Array, name: str) -> Array:
    """Scatter (k, d, d) as the covariances of a structure."""
    if name == "tied":
        return np.asarray(scatter.sum(axis=0) / counts.sum())
    full = scatter / counts[:, None, None]
    if name == "full":
        return np.asarray(full)
    variances = np.diagonal(full, axis1=1, axis2=2)
    return np.asarray(variances if name == "diag" else variances.mean(axis=1))


def random_parameters(
    rng: np.random.Generator, k: int, d: int, structure: Any
) -> MixtureParameters:
    """Overlapping components whose covariances have eigenvalues between 0.1 and 1."""
    vectors = np.linalg.qr(rng.normal(size=(k, d, d))).Q
    covariances = (vectors * rng.uniform(0.1, 1.0, (k, 1, d))) @ vectors.transpose(0, 2, 1)
    covariances = restricted(covariances, np.ones(k), structure.name)
    components = Gaussians(rng.normal(size=(k, d)), covariances, structure)
    return MixtureParameters(rng.dirichlet(np.full(k, 5.0)), components)
