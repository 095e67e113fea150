"""Mixtures of principal component analysers as Tipping and Bishop (1999b) write them.

Component by component, with explicit inverses and responsibilities of all rows in memory: what
`models.ppca_emission` is compared with. Nothing of it is used here but the records.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp

from dask_em.core.records import Array
from dask_em.models.mixture import MixtureParameters
from dask_em.models.ppca_emission import Analysers


def planted(k: int, d: int, q: int, seed: int = 0, apart: float = 2.0) -> MixtureParameters:
    """Components of long loadings and little noise."""
    rng = np.random.default_rng(seed)
    noises = rng.uniform(0.05, 0.2, k)
    loadings = rng.normal(size=(k, d, q)) * np.linspace(1.2, 0.8, q)
    components = Analysers(apart * rng.normal(size=(k, d)), loadings, noises)
    return MixtureParameters(rng.dirichlet(np.full(k, 20.0)), components)


def joint(rows: Array, parameters: MixtureParameters) -> Array:
    """(n, k) log weight plus log-density, equation 2 of the paper and the normal density."""
    components: Any = parameters.components
    found = []
    for weight, mean, loadings, noise in zip(
        parameters.weights,
        components.means,
        components.loadings,
        components.noise_variances,
        strict=True,
    ):
        covariance = noise * np.eye(len(mean)) + loadings @ loadings.T
        centred = rows - mean
        lengths = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
        constant = len(mean) * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1]
        found.append(np.log(weight) - 0.5 * (lengths + constant))
    return np.stack(found, axis=1)


def log_density(rows: Array, parameters: MixtureParameters) -> Array:
    return np.asarray(logsumexp(joint(rows, parameters), axis=1))


def shares(rows: Array, parameters: MixtureParameters) -> Array:
    """(n, k) responsibilities."""
    found = joint(rows, parameters)
    return np.asarray(np.exp(found - logsumexp(found, axis=1)[:, None]))


def step(rows: Array, parameters: MixtureParameters) -> MixtureParameters:
    """One EM step whose M-step decomposes the weighted covariances."""
    components: Any = parameters.components
    q, d = components.q, rows.shape[1]
    means, loadings, noises = [], [], []
    r = shares(rows, parameters)
    for share in r.T:
        mean, covariance = weighted(rows, share)
        axes, values, _ = np.linalg.svd(covariance)
        noise = values[q:].sum() / (d - q)
        axes = axes[:, :q] * np.sign([axes[np.abs(axes[:, j]).argmax(), j] for j in range(q)])
        means.append(mean)
        loadings.append(axes @ np.diag(np.sqrt(values[:q] - noise)))
        noises.append(noise)
    found = Analysers(np.stack(means), np.stack(loadings), np.array(noises))
    return MixtureParameters(r.mean(axis=0), found)


def two_stage_step(rows: Array, parameters: MixtureParameters) -> MixtureParameters:
    """One step of the paper's appendix C: loadings from loadings, without a decomposition."""
    components: Any = parameters.components
    q, d = components.q, rows.shape[1]
    means, loadings, noises = [], [], []
    r = shares(rows, parameters)
    for share, before, noise in zip(
        r.T, components.loadings, components.noise_variances, strict=True
    ):
        mean, covariance = weighted(rows, share)
        inner = np.linalg.inv(noise * np.eye(q) + before.T @ before)
        there = covariance @ before
        after = there @ np.linalg.inv(noise * np.eye(q) + inner @ before.T @ there)
        means.append(mean)
        loadings.append(after)
        noises.append(np.trace(covariance - there @ inner @ after.T) / d)
    found = Analysers(np.stack(means), np.stack(loadings), np.array(noises))
    return MixtureParameters(r.mean(axis=0), found)


def weighted(rows: Array, share: Array) -> tuple[Array, Array]:
    """Mean (d,) and covariance (d, d) of rows that count by their share."""
    mean = share @ rows / share.sum()
    centred = rows - mean
    return mean, (share[:, None] * centred).T @ centred / share.sum()
