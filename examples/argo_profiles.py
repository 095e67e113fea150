"""Classes of ocean profiles that have gaps: probabilistic PCA, then a Gaussian mixture of scores.

Run it with ``python examples/argo_profiles.py [STORE] [PICTURE] [--every N]``. The store is a Zarr
group as xarray writes it, with temperature and salinity on (profile, pressure) and the coordinates
latitude and longitude. Every profile is used as far as it was observed.

1. Each level is standardised by the mean and standard deviation of what was observed there.
2. How many latent dimensions there should be is decided by what is hidden on purpose. Cells here
   and there, between neighbours that are seen, are easy; real gaps are whole ends of profiles. So
   some profiles also get the gaps of another, and the fewest dimensions are taken whose error there
   is within 2% of the least: more of them fill single cells better and real gaps worse.
3. Other cells are then hidden, to tell how far the result can be trusted.
4. A Gaussian mixture of the scores gives the classes, on a map and as profiles, gaps filled. One of
   them is fresher at all depths than that ocean is anywhere: sensors that failed.

With ``--every 20`` it takes one profile in 20, and seconds instead of minutes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from dask_em import PPCA, GaussianMixture
from dask_em.core.records import Array

STORE = Path(__file__).parents[2] / "shared" / "data" / "argo_profiles.zarr"
VARIABLES = {"temperature": "temperature, °C", "salinity": "salinity, psu"}
LATENT = range(2, 21, 3)
CLASSES = 6
#: told apart with any colour vision (Okabe and Ito)
COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#e69f00", "#d55e00")
#: share of the cells, and of the profiles that get the gaps of another, that are hidden
HIDDEN, BORROWED = 0.05, 0.1
#: of the standard normal distribution: 90% lies within
NINETY = 1.6449
#: where most profiles are: west, east, south, north
CROWD = (-55, 12, -12, 11)
DEPTHS = (0, 200, 1000, 2000)


@dataclass(frozen=True)
class HeldOut:
    """Cells that were hidden from a fit, in standard deviations of their level."""

    truth: Array  # (m,)
    error: Array  # (m,) filled less truth
    deviation: Array  # (m,) what the model takes for the standard deviation of the error
    pressure: Array  # (m,) dbar

    @property
    def rmse(self) -> float:
        return float(np.sqrt((self.error**2).mean()))

    @property
    def rmse_of_means(self) -> float:
        """Of filling with the mean of the level, which is 0."""
        return float(np.sqrt((self.truth**2).mean()))

    @property
    def inside(self) -> Array:
        """(m,) whether the 90% interval holds the truth."""
        return np.asarray(np.abs(self.error) < NINETY * self.deviation)


def standardised(rows: Array) -> tuple[Array, Array, Array]:
    """Rows less the mean over what is observed, in standard deviations; and these two."""
    mean, deviation = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
    return (rows - mean) / deviation, mean, deviation


def fitted(rows: Array, q: int) -> PPCA:
    return PPCA(q, missing="model", algorithm="accelerated", random_state=0).fit(rows)


def hide(rows: Array, seed: int) -> dict[str, Array]:
    """Which of the observed cells to hide: (n, d) by what their gaps are like."""
    rng = np.random.default_rng(seed)
    observed = ~np.isnan(rows)
    borrows = rng.random((len(rows), 1)) < BORROWED
    borrowed = ~observed[rng.permutation(len(rows))] & borrows
    single = (rng.random(rows.shape) < HIDDEN) & ~borrows
    return {"single cells": single & observed, "real gaps": borrowed & observed}


def hold_out(rows: Array, pressure: Array, q: int, seed: int) -> dict[str, HeldOut]:
    """Hide cells, fit to the others, fill."""
    hidden = hide(rows, seed)
    seen, mean, deviation = standardised(np.where(sum(hidden.values()), np.nan, rows))
    filled, uncertainty = fitted(seen, q).fill(seen, return_std=True)
    truth = (rows - mean) / deviation
    depths = np.broadcast_to(np.tile(pressure, len(VARIABLES)), rows.shape)
    return {
        kind: HeldOut(truth[cells], (filled - truth)[cells], uncertainty[cells], depths[cells])
        for kind, cells in hidden.items()
    }


def chosen_dimensions(rows: Array, pressure: Array) -> int:
    """The fewest latent dimensions that are nearly the best at filling gaps like the real ones."""
    errors = []
    for q in LATENT:
        found = hold_out(rows, pressure, q, seed=0)
        errors.append(found["real gaps"].rmse)
        told = (
            f"{kind} {one.rmse:.4f} ({one.inside.mean():.1%} inside)" for kind, one in found.items()
        )
        print(f"q = {q:2d}: error of", ", of ".join(told))
    best = min(errors)
    q = next(q for q, error in zip(LATENT, errors, strict=True) if error <= 1.02 * best)
    print(f"q = {q}: the fewest within 2% of the least error in real gaps, {best:.4f}")
    return q


def judge(rows: Array, pressure: Array, q: int) -> None:
    """Error and coverage on cells that had no part in choosing q."""
    for kind, found in hold_out(rows, pressure, q, seed=1).items():
        ratio = found.rmse / found.rmse_of_means
        print(f"{kind}, {len(found.error)} others hidden: error {found.rmse:.4f},")
        print(f"  {ratio:.3f} times that of level means, {found.rmse_of_means:.4f}")
        print(f"  90% intervals hold {found.inside.mean():.1%}: {by_depth(found)}")


def by_depth(found: HeldOut) -> str:
    """Coverage: one noise variance is too little where the sea is restless, too much below."""
    told = []
    for top, bottom in pairwise(DEPTHS):
        here = found.inside[(found.pressure >= top) & (found.pressure < bottom)]
        told.append(f"{here.mean():.1%} from {top} to {bottom} dbar" if len(here) else "")
    return ", ".join(filter(None, told))


def classes(scores: Array, surface: Array) -> Array:
    """The class of each profile; they are numbered by temperature near the surface."""
    mixture = GaussianMixture(CLASSES, n_init=5, random_state=0, reg_covar=1e-3).fit(scores)
    labels = np.asarray(mixture.predict(scores))
    means = [surface[labels == c].mean() if (labels == c).any() else np.inf for c in range(CLASSES)]
    return np.argsort(np.argsort(means))[labels]


def draw_map(axes: Any, profiles: xarray.Dataset, labels: Array, size: float) -> None:
    # in any order, for no class to hide the others
    order = np.random.default_rng(0).permutation(len(labels))
    axes.scatter(
        profiles.longitude.values[order],
        profiles.latitude.values[order],
        s=size,
        c=np.array(COLOURS)[labels[order]],
        linewidths=0,
    )
    axes.set(xlabel="longitude, °E", ylabel="latitude, °N", aspect="equal")
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)


def draw_maps(figure: Any, profiles: xarray.Dataset, labels: Array) -> None:
    """The world, and the part of it with most profiles."""
    world, crowd = figure.subplots(2, 1, height_ratios=(130, 124))
    draw_map(world, profiles, labels, 8)
    world.set(xlim=(-180, 180), ylim=(-65, 65))
    world.set(xticks=range(-180, 181, 60), yticks=range(-60, 61, 30))
    draw_map(crowd, profiles, labels, 10)
    west, east, south, north = CROWD
    crowd.set(xlim=(west, east), ylim=(south, north))
    box = ([west, east, east, west, west], [south, south, north, north, south])
    world.plot(*box, color="black", lw=1)
    crowd.set_title("inside the box")


def draw_profiles(
    axes: Any, values: Array, everywhere: Array, pressure: Array, colour: str
) -> None:
    """The mean of a class, the range of the middle 80% of its profiles, and the mean of all."""
    low, high = np.quantile(values, [0.1, 0.9], axis=0)
    axes.plot(everywhere, pressure, color="#999999", lw=1, ls="--")
    axes.fill_betweenx(pressure, low, high, color=colour, alpha=0.3, lw=0)
    axes.plot(values.mean(axis=0), pressure, color=colour, lw=2)
    axes.spines[["top", "right"]].set_visible(False)


def draw(path: Path, profiles: xarray.Dataset, rows: Array, labels: Array) -> None:
    """The classes on a map and, below, their profiles (n, 2 x levels), gaps filled."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 16), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    draw_maps(upper, profiles, labels)
    upper.suptitle(f"{CLASSES} classes of {len(rows)} Argo profiles")
    pressure = profiles.pressure.values
    panels = lower.subplots(2, CLASSES, sharex="row", sharey=True)
    for line, values, label in zip(panels, np.hsplit(rows, 2), VARIABLES.values(), strict=True):
        for c, axes in enumerate(line):
            if (labels == c).any():
                mine, everywhere = values[labels == c], values.mean(axis=0)
                draw_profiles(axes, mine, everywhere, pressure, COLOURS[c])
            axes.set_xlabel(label)
        line[0].set(ylabel="pressure, dbar", ylim=(2000, 0))
    for c, axes in enumerate(panels[0]):
        axes.set_title(f"{c + 1}: {(labels == c).mean():.0%}", color=COLOURS[c], weight="bold")
    lower.suptitle("mean, middle 80% of the profiles, and the mean of all (dashed)")
    figure.savefig(path, dpi=130)
    print(f"picture: {path}")


def main(store: Path, picture: Path, every: int) -> None:
    if not store.exists():
        print(f"there is no {store.name} at {store}; give the path of one to see this example")
        return
    profiles = xarray.open_zarr(store)[list(VARIABLES)].isel(profile=slice(None, None, every))
    profiles = profiles.load()
    pressure = profiles.pressure.values
    rows = np.hstack([profiles[name].values for name in VARIABLES]).astype(np.float64)
    print(f"{len(rows)} profiles of {rows.shape[1]} features, {np.isnan(rows).mean():.1%} missing")
    q = chosen_dimensions(rows, pressure)
    judge(rows, pressure, q)
    scaled, mean, deviation = standardised(rows)
    model = fitted(scaled, q)
    print(f"all cells: {model.outcome_.value} after {model.n_iter_} passes")
    filled = model.fill(scaled) * deviation + mean
    labels = classes(model.transform(scaled), filled[:, 0])
    for c, n in enumerate(np.bincount(labels, minlength=CLASSES)):
        top, bottom = filled[labels == c, 0].mean(), filled[labels == c, -1].mean()
        print(f"class {c + 1}: {n:5d} profiles, {top:5.1f} °C at the top, {bottom:.1f} psu below")
    try:
        draw(picture, profiles, filled, labels)
    except ModuleNotFoundError:
        print("matplotlib is not installed, so there is no picture: pip install matplotlib")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", nargs="?", type=Path, default=STORE)
    parser.add_argument("picture", nargs="?", type=Path, default=Path("argo_profiles.png"))
    parser.add_argument("--every", type=int, default=1, help="take one profile in so many")
    options = parser.parse_args()
    main(options.store, options.picture, options.every)
