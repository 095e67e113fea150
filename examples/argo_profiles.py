"""Types of ocean profiles: a Gaussian mixture of temperature and salinity by depth.

Run it with ``python examples/argo_profiles.py [STORE] [PICTURE]``. The store is a Zarr group as
xarray writes it, with temperature and salinity on (profile, pressure) and the coordinates
latitude and longitude; profiles with a gap above 1,000 dbar are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray

from dask_em import GaussianMixture

STORE = Path(__file__).parents[2] / "shared" / "data" / "argo_profiles.zarr"
TYPES = 4


def upper_ocean(store: Path, scratch: Path) -> Path:
    """A store of every fifth level to 1,000 dbar: a deeper gap leaves no profile out."""
    levels = xarray.open_zarr(store)[["temperature", "salinity"]].sel(pressure=slice(0, 1000))
    path = scratch / "upper.zarr"
    thinned = levels.isel(pressure=slice(None, None, 5)).drop_encoding()
    thinned.chunk(profile=2000, pressure=-1).to_zarr(path, zarr_format=3, consolidated=False)
    return path


def draw(path: Path, profiles: xarray.Dataset, labels: Any, mixture: GaussianMixture) -> None:
    """Where the types are found, and their mean temperature by depth."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (chart, depths) = plt.subplots(
        1, 2, figsize=(12, 5), width_ratios=(3, 1), layout="constrained"
    )
    for kind in range(TYPES):
        here = profiles.isel(profile=np.flatnonzero(labels == kind))
        chart.scatter(here.longitude, here.latitude, s=4, label=f"{mixture.weights_[kind]:.0%}")
        pressure = profiles.pressure.sel(pressure=slice(0, 1000))[::5]
        depths.plot(mixture.means_[kind, : pressure.size], pressure)
    chart.set(title=f"{TYPES} types of profiles", xlabel="longitude", ylabel="latitude")
    chart.legend(markerscale=4, title="share")
    depths.set(title="mean temperature", xlabel="deg C", ylabel="pressure, dbar")
    depths.invert_yaxis()
    figure.savefig(path, dpi=110)
    print(f"picture: {path}")


def main(store: Path, picture: Path) -> None:
    if not store.exists():
        print(f"there is no {store.name} at {store}; give the path of one to see this example")
        return
    profiles = xarray.open_zarr(store)
    with TemporaryDirectory() as scratch:
        data = upper_ocean(store, Path(scratch))
        mixture = GaussianMixture(TYPES, n_init=5, random_state=0, missing="drop", reg_covar=1e-2)
        mixture.fit(data, features=["temperature", "salinity"], sample_dims=["profile"])
        labels = mixture.predict(data).compute()
    found = np.bincount(labels[labels >= 0], minlength=TYPES)
    print(f"{mixture.n_features_in_} features, {(labels >= 0).sum()} of {labels.size} profiles")
    print(f"{mixture.outcome_.advice} after {mixture.n_iter_} passes")
    for kind, n in enumerate(found):
        latitude = profiles.latitude.values[labels == kind]
        print(f"type {kind}: {n:5d} profiles, latitude {latitude.mean():6.1f} on average")
    try:
        draw(picture, profiles, labels, mixture)
    except ModuleNotFoundError:
        print("matplotlib is not installed, so there is no picture: pip install matplotlib")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else STORE,
        Path(sys.argv[2] if len(sys.argv) > 2 else "argo_profiles.png"),
    )
