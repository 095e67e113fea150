"""Patterns of wind and height in January and July: probabilistic PCA of fields, drawn as maps.

Run it with ``python examples/era_interim.py [STORE] [PICTURE] [--cell N]``. The store is a Zarr
group as xarray writes it, with wind u and v and geopotential z on (month, level, latitude,
longitude).

A sample is one month at one level, 6 of them; its features are u, v and z at all points of the
globe, thousands. So there are far more features than samples, and the patterns are what a
climatologist calls combined empirical orthogonal functions:

1. Fields are averaged over cells of N x N points.
2. At each level the mean over the globe is taken off, and heights are divided by their standard
   deviation, winds by that of the wind, so that no level and no variable outweighs the others.
3. Features are multiplied by the root of the cosine of their latitude, so that a variance is one
   per area, not one per point of a grid that is crowded at the poles.

A loading is drawn as it is felt at 500 hPa: contours of height and arrows of wind.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from dask_em import PPCA
from dask_em.core.records import Array

STORE = Path(__file__).parents[2] / "shared" / "data" / "era_interim_uvz.zarr"
GRAVITY = 9.80665
LATENT = 3
SHOWN = 500
MONTHS = {1: "January", 7: "July"}
COLOURS = {1: "#0072b2", 7: "#d55e00"}


def averaged(store: Path, cell: int) -> xarray.Dataset:
    """Wind (m/s) and height (m) over cells of so many points in both directions."""
    fields = xarray.open_zarr(store)[["u", "v", "z"]].load()
    fields["z"] = fields.z / GRAVITY
    return fields.coarsen(latitude=cell, longitude=cell, boundary="trim").mean()


def standardised(fields: xarray.Dataset) -> tuple[xarray.Dataset, xarray.Dataset]:
    """Fields less the mean of their level, in standard deviations; and these, (level,)."""
    globe = ("month", "latitude", "longitude")
    area = np.cos(np.deg2rad(fields.latitude))
    anomalies = fields - fields.weighted(area).mean(globe)
    variances = (anomalies**2).weighted(area).mean(globe)
    wind = np.sqrt((variances.u + variances.v) / 2)
    units = xarray.Dataset({"u": wind, "v": wind, "z": np.sqrt(variances.z)})
    return anomalies / units, units


def rows_of(fields: xarray.Dataset) -> Array:
    """Samples (month x level) by features (variable x latitude x longitude)."""
    stacked = fields.to_array().transpose("month", "level", "variable", "latitude", "longitude")
    return stacked.values.reshape(stacked.sizes["month"] * stacked.sizes["level"], -1)


def maps_of(model: PPCA, like: xarray.Dataset, roots: xarray.DataArray) -> xarray.Dataset:
    """Loadings on (latent, latitude, longitude), in standard deviations at any place."""
    shape = (-1, len(like), like.sizes["latitude"], like.sizes["longitude"])
    axes = ("latent", "latitude", "longitude")
    values = model.loadings_.T.reshape(shape)
    here = {"latitude": like.latitude, "longitude": like.longitude}
    found = {name: (axes, values[:, i]) for i, name in enumerate(like)}
    return xarray.Dataset(found, coords=here) / roots


def draw_loading(axes: Any, loading: xarray.Dataset, top: float) -> Any:
    """Height as colours, wind as arrows."""
    levels = np.linspace(-top, top, 17)
    drawn = axes.contourf(
        loading.longitude, loading.latitude, loading.z, levels, cmap="PuOr_r", extend="both"
    )
    step = max(1, loading.sizes["latitude"] // 24)
    few = loading.isel(latitude=slice(None, None, step), longitude=slice(None, None, step))
    arrows = axes.quiver(few.longitude, few.latitude, few.u, few.v, scale=300, width=0.0013)
    axes.quiverkey(arrows, 0.93, 1.05, 10, "10 m/s", labelpos="E")
    axes.set(ylabel="latitude, °N", aspect="equal", ylim=(-86, 86))
    axes.set(xticks=range(-180, 181, 60), yticks=range(-60, 61, 30), xlim=(-176, 176))
    return drawn


def draw_scores(axes: Any, scores: Array, fields: xarray.Dataset) -> None:
    """The scores (month, level) of one latent dimension by height."""
    for month, line in zip(fields.month.values, scores, strict=True):
        axes.plot(line, fields.level, "o-", color=COLOURS[int(month)])
    axes.axvline(0, color="#999999", lw=0.8)
    axes.set(ylabel="pressure, hPa", yticks=fields.level.values, ylim=(900, 150), xlim=(-2.2, 2.2))
    axes.spines[["top", "right"]].set_visible(False)


def name_months(axes: Any, scores: Array, fields: xarray.Dataset) -> None:
    """The months beside the last points of their lines."""
    for month, line in zip(fields.month.values, scores, strict=True):
        right = bool(line[-1] > 0)
        axes.annotate(
            MONTHS[int(month)],
            (line[-1], fields.level.values[-1]),
            xytext=(8 if right else -8, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            color=COLOURS[int(month)],
        )


def draw(
    path: Path, model: PPCA, maps: xarray.Dataset, scores: Array, fields: xarray.Dataset
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6 * LATENT), layout="compressed")
    panels = figure.subplots(LATENT, 2, width_ratios=(3.3, 1))
    top = float(np.ceil(abs(maps.z).quantile(0.99) / 40) * 40)
    for i, (chart, profile) in enumerate(panels):
        share = model.explained_variance_ratio_[i]
        drawn = draw_loading(chart, maps.isel(latent=i), top)
        chart.set_title(f"loading {i + 1}: {share:.0%} of the variance", loc="left", weight="bold")
        draw_scores(profile, scores[..., i], fields)
        profile.set_title(f"score {i + 1}")
    panels[-1, 0].set_xlabel("longitude, °E")
    panels[-1, 1].set_xlabel("standard deviations")
    name_months(panels[0, 1], scores[..., 0], fields)
    figure.colorbar(
        drawn,
        ax=panels[:, 0],
        location="bottom",
        shrink=0.6,
        aspect=50,
        label=f"height of the {SHOWN} hPa surface, m",
    )
    figure.savefig(path, dpi=130, bbox_inches="tight")
    print(f"picture: {path}")


def main(store: Path, picture: Path, cell: int) -> None:
    if not store.exists():
        print(f"there is no {store.name} at {store}; give the path of one to see this example")
        return
    fields = averaged(store, cell)
    scaled, units = standardised(fields)
    roots = np.sqrt(np.cos(np.deg2rad(fields.latitude)))
    rows = rows_of(scaled * roots)
    model = PPCA(LATENT).fit(rows)
    print(f"{rows.shape[0]} samples of {rows.shape[1]} features, read {len(model.history_)} times")
    scores = model.transform(rows).reshape(fields.sizes["month"], fields.sizes["level"], LATENT)
    for i, share in enumerate(model.explained_variance_ratio_):
        told = (
            f"{MONTHS[int(m)]} {np.round(one, 1)}"
            for m, one in zip(fields.month, scores[..., i], strict=True)
        )
        print(
            f"loading {i + 1}: {share:.1%} of the variance; scores at {fields.level.values} hPa:",
            *told,
        )
    try:
        draw(picture, model, maps_of(model, scaled, roots) * units.sel(level=SHOWN), scores, fields)
    except ModuleNotFoundError:
        print("matplotlib is not installed, so there is no picture: pip install matplotlib")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", nargs="?", type=Path, default=STORE)
    parser.add_argument("picture", nargs="?", type=Path, default=Path("era_interim.png"))
    parser.add_argument("--cell", type=int, default=10, help="points of a cell in both directions")
    options = parser.parse_args()
    main(options.store, options.picture, options.cell)
