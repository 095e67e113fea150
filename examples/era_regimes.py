"""Regimes of the atmosphere in January and July: a Gaussian mixture of fields, drawn as maps.

Run it with ``python examples/era_regimes.py [STORE] [PICTURE] [--cell N]``. The store is a Zarr
group as xarray writes it, with wind u and v and geopotential z on (month, level, latitude,
longitude).

A sample is one place in one month; its features are u, v and z at three levels, nine numbers, in
standard deviations. It counts as much as the area that it stands for: the cosine of its latitude.
Nothing of that is written out: ``fit`` reads the fields as they are stored, divides and weighs them
block by block, and ``predict`` gives classes on the months, latitudes and longitudes of the fields.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from dask_em import GaussianMixture, Standardize

STORE = Path(__file__).parents[2] / "shared" / "data" / "era_interim_uvz.zarr"
MONTHS = {1: "January", 7: "July"}
CLASSES = 8
#: Okabe and Ito's colours, and one that they lack, for classes from the poles to the equator
COLOURS = ("#56b4e9", "#0072b2", "#009e73", "#999999", "#cc79a7", "#f0e442", "#e69f00", "#d55e00")


def opened(store: Path, cell: int) -> xarray.Dataset:
    """The fields, every so many points."""
    fields = xarray.open_zarr(store)[["u", "v", "z"]]
    few = slice(None, None, cell)
    return fields.isel(latitude=few, longitude=few)


def fitted(fields: xarray.Dataset) -> GaussianMixture:
    mixture = GaussianMixture(CLASSES, random_state=0, tol=1e-6, max_iter=500)
    return mixture.fit(
        fields,
        features=["u", "v", "z"],
        sample_dims=["month", "latitude", "longitude"],
        sample_weight=np.cos(np.deg2rad(fields.latitude)).clip(0),
        mapping=[Standardize()],
    )


def from_pole_to_equator(classes: xarray.DataArray, area: xarray.DataArray) -> list[int]:
    """The classes in the order of their mean distance from the equator, the farthest first."""
    away = abs(classes.latitude)
    return sorted(
        range(CLASSES),
        key=lambda c: (
            -float(away.broadcast_like(classes).where(classes == c).weighted(area).mean())
        ),
    )


def describe(model: GaussianMixture, fields: xarray.Dataset, classes: xarray.DataArray) -> None:
    area = np.cos(np.deg2rad(fields.latitude)).clip(0)
    for number, component in enumerate(from_pole_to_equator(classes, area), 1):
        mean = (
            fields.where(classes == component)
            .weighted(area)
            .mean(["month", "latitude", "longitude"])
        )
        upper, lower = mean.isel(level=0), mean.isel(level=-1)
        print(
            f"class {number}: {model.weights_[component]:.0%} of the area; wind to the east "
            f"{float(upper.u):+.0f} m/s at {int(upper.level)} hPa, {float(lower.u):+.0f} m/s at "
            f"{int(lower.level)} hPa"
        )


def draw(path: Path, fields: xarray.Dataset, classes: xarray.DataArray) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.figure import Figure

    area = np.cos(np.deg2rad(fields.latitude)).clip(0)
    order = np.argsort(from_pole_to_equator(classes, area))
    ranked = xarray.zeros_like(classes).copy(data=order[classes.values] + 1)
    figure = Figure(figsize=(10, 9.5), layout="compressed")
    shown = fields.isel(level=0)
    for axes, month in zip(figure.subplots(2, 1, sharex=True), fields.month.values, strict=True):
        drawn = axes.pcolormesh(
            fields.longitude,
            fields.latitude,
            ranked.sel(month=month),
            cmap=ListedColormap(COLOURS),
            norm=BoundaryNorm(np.arange(CLASSES + 1) + 0.5, CLASSES),
        )
        draw_wind(axes, shown.sel(month=month), f"{int(shown.level)} hPa")
        axes.set_title(MONTHS[int(month)], loc="left", weight="bold")
        axes.set(ylabel="latitude, °N", aspect="equal", yticks=range(-60, 61, 30))
    axes.set(xlabel="longitude, °E", xticks=range(-180, 181, 60))
    figure.colorbar(
        drawn,
        ax=figure.axes,
        location="bottom",
        shrink=0.6,
        aspect=40,
        label="class",
        ticks=range(1, CLASSES + 1),
    )
    figure.savefig(path, dpi=130, bbox_inches="tight")
    print(f"picture: {path}")


def draw_wind(axes: Any, fields: xarray.Dataset, where: str) -> None:
    step = max(1, fields.sizes["latitude"] // 24)
    few = fields.isel(latitude=slice(step // 2, None, step), longitude=slice(None, None, step))
    arrows = axes.quiver(few.longitude, few.latitude, few.u, few.v, scale=1500, width=0.0013)
    axes.quiverkey(arrows, 0.97, 1.04, 40, f"40 m/s at {where}", labelpos="W")


def main(store: Path, picture: Path, cell: int) -> None:
    if not store.exists():
        print(f"there is no {store.name} at {store}; give the path of one to see this example")
        return
    fields = opened(store, cell)
    model = fitted(fields)
    print(f"{model.history_[-1].rows:,} samples of {model.n_features_in_} features")
    classes = model.predict(fields).compute()
    describe(model, fields, classes)
    try:
        draw(picture, fields, classes)
    except ModuleNotFoundError:
        print("matplotlib is not installed, so there is no picture: pip install matplotlib")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", nargs="?", type=Path, default=STORE)
    parser.add_argument("picture", nargs="?", type=Path, default=Path("era_regimes.png"))
    parser.add_argument("--cell", type=int, default=1, help="take every so many points")
    options = parser.parse_args()
    main(options.store, options.picture, options.cell)
