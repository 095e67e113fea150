"""The suite of data sets that few passes are judged by.

Each is a mixture problem that is hard for plain EM in its own way: components that overlap, tails
that no component has, shapes that are no mixture, more components than clusters, real images and
records. Rows are standardized. Values that were rounded get as much noise back, for the likelihood
has no top where rows agree in every digit. Real data come from scikit-learn or from a folder of
stores beside the checkout; where that is missing, the case is skipped and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dask_em import Gaussian, Mixture
from dask_em.core.records import Array
from dask_em.models.covariance import STRUCTURES
from dask_em.models.seeding import KMeans

#: real data that are not part of the project
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ROWS = 400_000


class AbsentError(Exception):
    """A case whose data are not here; the text says which."""


@dataclass(frozen=True)
class Case:
    """Data, and the mixture that is fitted to them.

    Parameters
    ----------
    name : str
    make : callable
        From a number of rows to rows (n, d); real data are as many as they are.
    k : int
        Components that are fitted.
    structure : str
        Of the covariances, by scikit-learn's name.
    rows : int
        How many are drawn where they are drawn.
    flat : bool
        Whether the optimum is a plateau: more components than there are clusters.
    reg_covar : float
        Added to every variance; the rows have unit variance. It is 0 where components come near
        it: there EM with it does not climb the likelihood, and passes could not be counted to a
        top.
    """

    name: str
    make: Callable[[int], Array]
    k: int
    structure: str = "full"
    rows: int = ROWS
    flat: bool = False
    reg_covar: float = 1e-6  # scikit-learn's default

    def load(self, most: int | None = None) -> Array:
        """Rows (n, d), each feature of mean 0 and variance 1, at most so many.

        Raises
        ------
        AbsentError
            If the data are not here.
        """
        rows = self.make(min(self.rows, most or self.rows))
        if most is not None and len(rows) > most:
            rows = np.random.default_rng(0).permutation(rows)[:most]
        return np.asarray((rows - rows.mean(axis=0)) / rows.std(axis=0), dtype=np.float64)

    def mixture(self) -> Mixture:
        return Mixture(Gaussian(STRUCTURES[self.structure], self.reg_covar), self.k, KMeans())


def planted(
    d: int, k: int, spread: float, seed: int, freedom: float | None = None
) -> Callable[[int], Array]:
    """Rows of a mixture of random shapes and sizes; the spread of the centres sets the overlap.

    With degrees of freedom the components are Student's t.
    """

    def make(n: int) -> Array:
        rng = np.random.default_rng(seed)
        weights = rng.dirichlet(np.full(k, 4.0))
        origin = rng.choice(k, n, p=weights)
        centres = spread * rng.normal(size=(k, d))
        rows = np.empty((n, d))
        for j in range(k):
            factor, own = random_factor(d, rng), origin == j
            steps = rng.normal(size=(own.sum(), d)) @ factor.T
            if freedom is not None:
                steps /= np.sqrt(rng.chisquare(freedom, size=(len(steps), 1)) / freedom)
            rows[own] = centres[j] + steps
        return rows

    return make


def random_factor(d: int, rng: np.random.Generator) -> Array:
    """The lower factor (d, d) of a covariance that is far from round."""
    shape = rng.normal(size=(d, d)) / np.sqrt(d)
    covariance = 0.7 * shape @ shape.T + 0.3 * np.eye(d)
    return np.asarray(np.linalg.cholesky(covariance * np.exp(0.3 * rng.normal())))


def ring(n: int) -> Array:
    """A noisy ring, bent out of its plane, with a skewed third coordinate."""
    rng = np.random.default_rng(10)
    angle, radius = rng.uniform(0, 2 * np.pi, n), 2 + 0.35 * rng.normal(size=n)
    height = 0.5 * np.sin(2 * angle) + 0.6 * rng.standard_exponential(n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), height])


def scores(rows: Array, d: int) -> Array:
    """The first d principal components (n, d)."""
    rows = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return np.asarray(rows @ vectors[:, : -d - 1 : -1])


def unrounded(rows: Array, steps: float | list[float]) -> Array:
    """Rows (n, d) anywhere in the steps that they were rounded to."""
    rng = np.random.default_rng(11)
    return rows + np.asarray(steps) * rng.uniform(-0.5, 0.5, rows.shape)


def image(name: str, place: bool) -> Callable[[int], Array]:
    """Pixels of a photograph: red, green, blue, and where they lie if asked."""

    def make(_: int) -> Array:
        from sklearn.datasets import load_sample_image

        pixels = load_sample_image(name)
        rows = pixels.reshape(-1, 3).astype(np.float64)
        if place:
            y, x = np.indices(pixels.shape[:2])
            rows = np.column_stack([rows, x.ravel(), y.ravel()])
        return unrounded(rows, 1.0)

    return make


def digits(_: int) -> Array:
    from sklearn.datasets import load_digits

    return scores(load_digits().data.astype(np.float64), 12)


def wine(_: int) -> Array:
    from sklearn.datasets import load_wine

    return np.asarray(load_wine().data)


def weather(_: int) -> Array:
    """Hours at three airports: temperature, dew point, humidity, wind, pressure."""
    import pandas as pd

    columns = ["temp", "dewp", "humid", "wind_speed", "pressure"]
    rows = pd.read_parquet(shared("nyc_weather.parquet"), columns=columns).dropna().to_numpy()
    rows = rows[rows[:, 3] < 100]  # one anemometer reported a thousand miles per hour
    rows = unrounded(rows, [1.0, 1.0, 0.5, 1.15, 0.1])
    rows[:, 3] = np.log1p(np.abs(rows[:, 3]))
    return np.asarray(rows)


def argo(_: int) -> Array:
    """Profiles of temperature and salinity to 1,000 dbar, as 6 principal components."""
    import xarray as xr

    store = xr.open_zarr(shared("argo_profiles.zarr")).sel(pressure=slice(0, 1000))
    rows = np.hstack([store[name].values for name in ("temperature", "salinity")])
    rows = rows[np.isfinite(rows).all(axis=1)].astype(np.float64)
    return scores((rows - rows.mean(axis=0)) / rows.std(axis=0), 6)


def reanalysis(_: int) -> Array:
    """Grid points of ERA-Interim: winds and heights on three levels in two months, 6 scores."""
    import xarray as xr

    store = xr.open_zarr(shared("era_interim_uvz.zarr"))
    fields = [store[name].values.astype(np.float64).reshape(6, -1) for name in "zuv"]
    rows = np.concatenate(fields).T
    return scores((rows - rows.mean(axis=0)) / rows.std(axis=0), 6)


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        raise AbsentError(f"{name} is not in {Path(*SHARED.parts[-2:])} beside the checkout")
    return path


CASES = [
    Case("overlap-2-3", planted(2, 3, 0.9, 2), 3),
    Case("overlap-4-6", planted(4, 6, 1.0, 4), 6),
    Case("overlap-8-5", planted(8, 5, 0.6, 5), 5),
    Case("overlap-8-20", planted(8, 20, 1.1, 6), 20),
    Case("overlap-16-10", planted(16, 10, 0.6, 7), 10),
    Case("overlap-32-5", planted(32, 5, 0.45, 8), 5, rows=200_000),
    Case("tails-4-8", planted(4, 5, 1.5, 9, freedom=4), 8),
    Case("ring-3-8", ring, 8),
    Case("diagonal-8-8", planted(8, 5, 0.6, 5), 8, "diag"),
    Case("flat-2-8", planted(2, 8, 1.5, 3), 8, flat=True),
    Case("flower-3-8", image("flower.jpg", place=False), 8, reg_covar=0),
    Case("china-5-10", image("china.jpg", place=True), 10, reg_covar=0),
    Case("china-5-16-diagonal", image("china.jpg", place=True), 16, "diag", reg_covar=0),
    Case("era-6-8", reanalysis, 8),
    Case("era-6-12-diagonal", reanalysis, 12, "diag"),
    Case("argo-6-6", argo, 6),
    Case("weather-5-6", weather, 6, reg_covar=0),
    Case("digits-12-10", digits, 10),
    Case("wine-13-3-diagonal", wine, 3, "diag"),
]
