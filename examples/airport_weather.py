"""Types of weather at three airports: a Gaussian mixture of a Parquet dataset, and its gaps filled.

Run it with ``python examples/airport_weather.py [DATASET] [FOLDER] [--every N]``. The dataset is a
folder of Parquet files with hourly temp and dewp (°F), humid (%), wind_speed and wind_gust (mph),
and pressure (hPa), of which four gusts in five and one pressure in ten are missing.

1. A mixture of temperature, dew point, wind and pressure, in standard deviations, of the hours that
   have them all. An impossible wind is left out of the fit, and found again by its density.
2. ``write_predictions`` writes a Parquet dataset beside the first, file for file and row for row,
   with airport and hour; pandas tells what the types of weather are.
3. Probabilistic PCA of all hours, gaps and all, tells how strong gusts would have been. One in ten
   of those observed is hidden first, to see how good that is. A gust is reported only where there
   was one: what is filled in is what a station would have reported then.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from dask_em import PPCA, GaussianMixture, Standardize

DATASET = Path(__file__).parents[2] / "shared" / "data" / "nyc_weather.parquet"
FEATURES = ["temp", "dewp", "wind_speed", "pressure"]
WITH_GAPS = [*FEATURES, "humid", "wind_gust"]
TYPES = 5
#: mph; a gust of a hurricane
STRONGEST = 200
MONTHS = range(1, 13)


def mixture_of(dataset: Path) -> GaussianMixture:
    mixture = GaussianMixture(TYPES, missing="drop", random_state=0, tol=1e-6, max_iter=500)
    return mixture.fit(
        dataset,
        features=FEATURES,
        where=f"wind_speed < {STRONGEST}",
        mapping=[Standardize()],
    )


def describe(rows: pd.DataFrame) -> None:
    """What the types of weather are, from columns that the mixture did not see as well."""
    typed = rows[rows["class"] >= 0]
    means = typed.groupby("class")[[*FEATURES, "visib"]].mean()
    months = pd.crosstab(typed["class"], typed["month"]).reindex(columns=MONTHS, fill_value=0)
    for number, mean in means.sort_values("temp").iterrows():
        most = months.loc[number].sort_values(ascending=False).index[:3]
        print(
            f"type {number}: {np.mean(typed['class'] == number):4.0%} of the hours, "
            f"{mean.temp:.0f} °F, dew point {mean.dewp:.0f} °F, wind {mean.wind_speed:.0f} mph, "
            f"{mean.pressure:.0f} hPa, sight {mean.visib:.1f} miles; mostly in months "
            f"{', '.join(str(month) for month in sorted(most))}"
        )
    oddest = rows.loc[rows.log_likelihood.idxmin()]
    print(
        f"the oddest hour: {oddest.wind_speed:.0f} mph of wind at {oddest.origin}, "
        f"{oddest.time_hour:%d %B %Y %H:%M} UTC, log-likelihood {oddest.log_likelihood:.0f}"
    )


def fill_gusts(rows: pd.DataFrame) -> None:
    """Gusts where none were reported, and how good that is where some were."""
    rows = rows.loc[~(rows.wind_speed >= STRONGEST), WITH_GAPS]
    reported = np.flatnonzero(rows.wind_gust.notna())
    hidden = np.random.default_rng(0).choice(reported, len(reported) // 10, replace=False)
    shown = rows.copy()
    shown.iloc[hidden, shown.columns.get_loc("wind_gust")] = np.nan
    model = PPCA(3, missing="model").fit(shown, mapping=[Standardize()])
    filled, deviations = model.fill(shown, return_std=True)
    gust = WITH_GAPS.index("wind_gust")
    truth = rows.wind_gust.to_numpy()[hidden]
    errors, spread = filled[hidden, gust] - truth, deviations[hidden, gust]
    print(
        f"{len(hidden)} hidden gusts: {np.sqrt(np.mean(errors**2)):.1f} mph off, the mean of all "
        f"gusts {truth.std():.1f}; {np.mean(abs(errors) < 1.645 * spread):.0%} within their 90% "
        "interval"
    )


def main(dataset: Path, folder: Path, every: int) -> None:
    if not dataset.exists():
        print(f"there is no {dataset.name} at {dataset}; give the path of one to see this example")
        return
    model = mixture_of(dataset)
    print(f"{model.history_[-1].rows:,} hours with all of {', '.join(FEATURES)}")
    out = folder / "types.parquet"
    model.write_predictions(
        dataset,
        out,
        log_density=True,
        keys=["origin", "time_hour", "month", "visib", *FEATURES],
        overwrite=True,
    )
    print(f"types of all hours: {out}")
    describe(pd.read_parquet(out))
    fill_gusts(pd.read_parquet(dataset, columns=WITH_GAPS).iloc[::every])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", type=Path, default=DATASET)
    parser.add_argument("folder", nargs="?", type=Path, default=Path())
    parser.add_argument(
        "--every", type=int, default=1, help="fill the gusts of every so many hours"
    )
    options = parser.parse_args()
    main(options.dataset, options.folder, options.every)
