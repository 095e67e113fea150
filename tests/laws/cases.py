"""One line per model: the mixtures of the package, and models written outside of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import logsumexp
from scipy.stats import bernoulli, expon, multivariate_normal, poisson
from sklearn import mixture as sklearn_mixture

from dask_em.core.records import Array
from dask_em.core.together import Together, TogetherParameters
from dask_em.models.covariance import STRUCTURES, Diagonal, Full, Structure
from dask_em.models.gaussian import Gaussian, Gaussians
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.models.ppca_emission import PrincipalComponents
from dask_em.models.seeding import KMeans, RandomRows
from dask_em.testing.models import ModelCase
from tests.laws.strangers import Bernoulli, Exponential, Means, Poisson, Rate
from tests.models import analysers
from tests.models.textbook import CentredGaussian

MEANS = np.array([[-1.5, 0.0, 1.0], [0.5, -1.0, 0.0], [2.0, 1.5, -0.5]])
WEIGHTS = np.array([0.5, 0.3, 0.2])
ROOT = np.array([[0.6, 0.0, 0.0], [0.2, 0.4, 0.0], [-0.1, 0.15, 0.5]])


def planted(structure: Structure) -> MixtureParameters:
    covariances = {
        "full": np.stack([ROOT @ ROOT.T, 0.5 * np.eye(3), ROOT.T @ ROOT]),
        "tied": ROOT @ ROOT.T,
        "diag": np.array([[0.3, 0.2, 0.5], [0.2, 0.6, 0.1], [0.4, 0.1, 0.3]]),
        "spherical": np.array([0.3, 0.5, 0.2]),
    }
    return MixtureParameters(WEIGHTS, Gaussians(MEANS, covariances[structure.name], structure))


def draw(model: Mixture, parameters: MixtureParameters, n: int, rng: Generator) -> Array:
    rows, _ = model.sample(n, parameters, rng)
    return rng.permutation(rows)


def log_density(rows: Array, parameters: MixtureParameters) -> Array:
    """SciPy's."""
    components: Any = parameters.components
    k, d = components.means.shape
    joint = [
        np.log(parameters.weights[j])
        + multivariate_normal(
            components.means[j], components.structure.dense(components.covariances, j, d)
        ).logpdf(rows)
        for j in range(k)
    ]
    return np.asarray(logsumexp(joint, axis=0))


def step(rows: Array, parameters: MixtureParameters) -> MixtureParameters:
    """scikit-learn's."""
    components: Any = parameters.components
    structure = components.structure
    theirs = sklearn_mixture.GaussianMixture(covariance_type=structure.name, reg_covar=0.0)
    theirs.weights_, theirs.means_ = parameters.weights, components.means
    theirs.covariances_ = components.covariances
    theirs.precisions_cholesky_ = components.factors
    _, log_shares = theirs._e_step(rows)
    theirs._m_step(rows, log_shares)
    found = Gaussians(theirs.means_, theirs.covariances_, structure)
    return MixtureParameters(theirs.weights_, found)


def moved(parameters: MixtureParameters, shift: Array, scale: float) -> MixtureParameters:
    components: Any = parameters.components
    means = components.means * scale + shift
    covariances = components.covariances * scale**2
    moved = replace(components, means=means, covariances=covariances, frame=None)
    return replace(parameters, components=moved)


def gaussian_case(name: str, emission: type[Gaussian]) -> ModelCase:
    structure = STRUCTURES[name]
    model = Mixture(emission(structure), 3, KMeans())
    truth = planted(structure)
    return ModelCase(
        f"{emission.__name__}-{name}".lower(),
        model,
        rows=partial(draw, model, truth),
        planted=truth,
        log_density=log_density,
        step=step,
        moved=moved,
        single=1e-4,
    )


def moved_analysers(parameters: MixtureParameters, shift: Array, scale: float) -> MixtureParameters:
    some: Any = parameters.components
    moved = replace(
        some,
        means=some.means * scale + shift,
        loadings=some.loadings * scale,
        noise_variances=some.noise_variances * scale**2,
        frame=None,
    )
    return replace(parameters, components=moved)


def ppca_case(k: int, d: int, q: int) -> ModelCase:
    model = Mixture(PrincipalComponents(q), k, KMeans())
    truth = analysers.planted(k, d, q)
    return ModelCase(
        "ppca-mixture",
        model,
        rows=partial(draw, model, truth),
        planted=truth,
        log_density=analysers.log_density,
        step=analysers.step,
        moved=moved_analysers,
        single=1e-4,
    )


def coins(rows: Array, parameters: MixtureParameters) -> Array:
    return _mixed(parameters, lambda chance: bernoulli(chance).logpmf(rows).sum(axis=1))


def counts(rows: Array, parameters: MixtureParameters) -> Array:
    return _mixed(parameters, lambda mean: poisson(mean).logpmf(rows).sum(axis=1))


def _mixed(parameters: MixtureParameters, log_mass: Callable[[Array], Array]) -> Array:
    components: Any = parameters.components
    joint = [
        np.log(w) + log_mass(m) for w, m in zip(parameters.weights, components.means, strict=True)
    ]
    return np.asarray(logsumexp(joint, axis=0))


def stranger(emission: Any, means: list[list[float]], oracle: Callable[..., Array]) -> ModelCase:
    model = Mixture(emission, 2, RandomRows())
    truth = MixtureParameters(np.array([0.6, 0.4]), Means(np.array(means)))
    return ModelCase(
        type(emission).__name__.lower(), model, partial(draw, model, truth), truth, oracle
    )


def together(name: str, other: Structure) -> ModelCase:
    """Three components beside two; those of one structure share arithmetic."""

    def each(ask: Callable[..., Any], rows: Array, parameters: Any) -> list[Any]:
        return [ask(rows, one) for one in parameters.members]

    first = Mixture(Gaussian(Full()), 3, KMeans())
    return ModelCase(
        name,
        Together((first, Mixture(Gaussian(other), 2, KMeans()))),
        rows=partial(draw, first, planted(Full())),
        log_density=lambda rows, found: np.sum(each(log_density, rows, found), axis=0),
        step=lambda rows, found: TogetherParameters(tuple(each(step, rows, found))),
        single=1e-4,
    )


GAUSSIAN = [
    gaussian_case(name, emission) for emission in (Gaussian, CentredGaussian) for name in STRUCTURES
]
STRANGERS = [
    stranger(Bernoulli(), [[0.9, 0.8, 0.7, 0.9, 0.2], [0.2, 0.1, 0.3, 0.2, 0.8]], coins),
    stranger(Poisson(), [[1.0, 6.0, 2.0], [8.0, 1.5, 0.5]], counts),
    ModelCase(
        "exponential",
        Exponential(),
        lambda n, rng: rng.exponential(0.5, (n, 1)),
        planted=Rate(2.0),
        log_density=lambda rows, found: expon(scale=1 / found.rate).logpdf(rows[:, 0]),
    ),
]
TOGETHER = [together("together-alike", Full()), together("together-not-alike", Diagonal())]
CASES = [*GAUSSIAN, ppca_case(3, 5, 2), *STRANGERS, *TOGETHER]
