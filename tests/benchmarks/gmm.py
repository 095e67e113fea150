"""Seconds per EM iteration beside scikit-learn's GaussianMixture, in one process and one run.

    python -m tests.benchmarks.gmm                      every shape
    python -m tests.benchmarks.gmm --shapes full-64 diag-32
    python -m tests.benchmarks.gmm --through fit        through dask_em.fit, data in memory

Both sides start from the same parameters and make the same number of iterations on one thread;
they take turns, and medians are shown. The percentage is of this machine's dgemm peak, measured in
the same run, and counts the multiplications that the lifted form needs.
"""

from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import dask
import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.mixture import GaussianMixture

from dask_em.core.block import Block
from dask_em.core.em import Iterate
from dask_em.models.covariance import STRUCTURES
from dask_em.models.gaussian import Gaussian, Gaussians
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.models.seeding import KMeans


@dataclass(frozen=True)
class Shape:
    structure: str
    n: int
    d: int
    k: int
    target: float
    dtype: str = "float64"

    @property
    def name(self) -> str:
        return f"{self.structure}-{self.d}" + ("-f32" if self.dtype == "float32" else "")


SHAPES = [
    Shape("full", 1_000_000, 2, 5, 15),
    Shape("full", 1_000_000, 8, 8, 8),
    Shape("full", 500_000, 16, 16, 4.5),
    Shape("full", 200_000, 64, 32, 3.5),
    Shape("full", 100_000, 128, 16, 1.7),
    Shape("diag", 1_000_000, 32, 64, 3),
    Shape("spherical", 500_000, 16, 16, 4),
    Shape("tied", 500_000, 16, 16, 15),
    Shape("full", 500_000, 16, 16, 0, "float32"),
    Shape("full", 200_000, 64, 32, 0, "float32"),
]


def planted(shape: Shape) -> tuple[np.ndarray, MixtureParameters]:
    """Rows of a mixture and parameters near the ones that made them."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(shape.k, shape.d))
    rows = centres[rng.integers(shape.k, size=shape.n)] + rng.normal(size=(shape.n, shape.d))
    structure = STRUCTURES[shape.structure]
    dense = np.eye(shape.d) * 1.3 + 0.1
    covariances = {
        "full": np.array([dense] * shape.k),
        "tied": dense,
        "diag": np.full((shape.k, shape.d), 1.4),
        "spherical": np.full(shape.k, 1.4),
    }[shape.structure]
    components = Gaussians(centres + 0.3, covariances, structure)
    return rows.astype(shape.dtype), MixtureParameters(np.full(shape.k, 1 / shape.k), components)


def sklearn_fit(rows: np.ndarray, start: MixtureParameters, iterations: int) -> GaussianMixture:
    components = start.components
    assert isinstance(components, Gaussians)
    precisions = components.structure.precisions(components.factors)
    return GaussianMixture(
        start.k,
        covariance_type=components.structure.name,
        tol=0,
        max_iter=iterations,
        weights_init=start.weights,
        means_init=components.means,
        precisions_init=precisions,
    ).fit(rows)


def kernel_fit(rows: np.ndarray, start: MixtureParameters, iterations: int) -> float:
    """The bare E-step and M-step; nats per row in the last pass."""
    mixture, block = model(start), Block(rows)
    parameters = start
    for _ in range(iterations):
        iterate = Iterate(parameters, mixture.expect(block, parameters))
        parameters = mixture.maximize(iterate.statistics)
    return iterate.objective


def engine_fit(rows: np.ndarray, start: MixtureParameters, iterations: int) -> float:
    """The same through `dask_em.fit`."""
    from dask_em import Stopping, fit

    fitted = fit(model(start), rows, start=start, stopping=Stopping(0, iterations))
    return fitted.history[-1].objective


def model(start: MixtureParameters) -> Mixture:
    components = start.components
    assert isinstance(components, Gaussians)
    return Mixture(Gaussian(components.structure, reg_covar=1e-6), start.k, KMeans())


def seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def per_iteration(call: Callable[[int], object], iterations: int) -> float:
    """Seconds that each iteration after the first adds."""
    return (seconds(lambda: call(1 + iterations)) - seconds(lambda: call(1))) / iterations


def dgemm_peak(dtype: str) -> float:
    """Multiply-adds per second of a square product, times two."""
    a = np.random.default_rng(0).normal(size=(1024, 1024)).astype(dtype)
    return 2 * 1024**3 / min(seconds(lambda: a @ a) for _ in range(9))


def measure(shape: Shape, repeats: int, through: str) -> list[str]:
    rows, start = planted(shape)
    ours = {"kernel": kernel_fit, "fit": engine_fit}[through]
    iterations = max(1, round(2e8 / (shape.n * shape.d * shape.k)))
    theirs, mine = [], []
    for _ in range(repeats):
        theirs.append(per_iteration(lambda n: sklearn_fit(rows, start, n), iterations))
        mine.append(per_iteration(lambda n: ours(rows, start, n), iterations))
    difference = ours(rows, start, 3) - sklearn_fit(rows, start, 3).lower_bound_
    lifted = 1 + shape.d + STRUCTURES[shape.structure].n_lifted(shape.d)
    flops = 4 * shape.n * shape.k * lifted
    ratio = median(a / b for a, b in zip(theirs, mine, strict=True))
    return [
        shape.structure,
        shape.dtype,
        f"{shape.n:,}",
        str(shape.d),
        str(shape.k),
        f"{median(theirs):.4f}",
        f"{median(mine):.4f}",
        f"{ratio:.2f}",
        f"{shape.target:g}" if shape.target else "",
        f"{difference:.0e}",
        f"{100 * flops / median(mine) / dgemm_peak(shape.dtype):.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shapes", nargs="*", default=[shape.name for shape in SHAPES])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--through", choices=["kernel", "fit"], default="kernel")
    options = parser.parse_args()
    dask.config.set(num_workers=1)
    warnings.simplefilter("ignore")
    table = Table(title=f"seconds per iteration, medians of {options.repeats} paired runs")
    for name in (
        *("covariance", "dtype", "n", "d", "k", "scikit-learn", "dask_em", "ratio", "target"),
        *("nats/row", "% of dgemm"),
    ):
        table.add_column(name, justify="left" if name in ("covariance", "dtype") else "right")
    for shape in SHAPES:
        if shape.name in options.shapes:
            table.add_row(*measure(shape, options.repeats, options.through))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
