"""A density of one's own: a mixture of Poisson distributions, for counts.

python examples/poisson_mixture.py
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from dask_em import ExponentialFamily, Mixture, Stopping, fit
from dask_em.core.records import Array, Record
from dask_em.models.seeding import KMeans


@dataclass(frozen=True)
class Rates(Record):
    values: Array  # (k, d) expected counts


@dataclass(frozen=True)
class Poisson(ExponentialFamily[Rates]):
    """``log p(x) = sum_j x_j log rate_j - rate_j - log x_j!``."""

    def lift(self, rows: Array) -> Array:
        return np.vstack([np.ones(rows.shape[1]), rows])

    def natural(self, components: Rates) -> Array:
        rates = components.values
        return np.hstack([-rates.sum(axis=1, keepdims=True), np.log(rates)])

    def from_sums(self, sums: Array) -> Rates:
        return Rates(np.maximum(sums[:, 1:] / np.maximum(sums[:, :1], 1e-300), 1e-12))

    def base_measure(self, phi: Array) -> Array:
        return -gammaln(phi[1:] + 1).sum(axis=0)


def main() -> None:
    rng = np.random.default_rng(0)
    rates = np.array([[2.0, 9.0], [6.0, 1.0], [12.0, 12.0]])
    counts = rng.poisson(rates[rng.integers(3, size=100_000)])
    mixture = Mixture(Poisson(), 3, KMeans())
    fitted = fit(mixture, counts, stopping=Stopping(1e-8, 200), rng=rng)
    print("ended:", fitted.outcome.name, "after", len(fitted.objectives), "passes")
    print("rates:\n", fitted.parameters.components.values.round(2))
    print("weights:", fitted.parameters.weights.round(3))


if __name__ == "__main__":
    main()
