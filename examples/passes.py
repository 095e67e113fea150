"""How far each algorithm is from the optimum after each reading of the data: a picture.

python examples/passes.py passes.png

Two mixtures whose components overlap so much that plain EM creeps. The cost of a fit to data that
do not fit in memory is the number of times that they are read, so that is the horizontal axis.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dask_em import Block, Gaussian, Mixture, Model, Stopping, fit
from dask_em.core.records import Array
from dask_em.models.mixture import MixtureParameters, MixtureStatistics
from dask_em.models.seeding import KMeans

ROWS, SAMPLE_ROWS, MOST_PASSES = 40_000, 10_000, 400
#: nats per row: gaps below it are not shown, for they are rounding
LEAST = 1e-10
COLOURS = {"em": "#8c8c8c", "anderson": "#d98c21", "accelerated": "#1f5fa8"}
LABELS = {
    "em": "plain EM",
    "anderson": "Anderson, for a model of one's own",
    "accelerated": "accelerated, corrected by a sample",
}


def overlapping(n: int) -> Array:
    """Rows of three broad Gaussians that hide in each other."""
    rng = np.random.default_rng(2)
    centres = np.array([[0.0, 0.0], [1.3, 0.4], [-0.3, 1.2]])
    spreads = np.array([[1.0, 0.5], [0.6, 1.1], [0.9, 0.9]])
    origin = rng.choice(3, n, p=[0.3, 0.3, 0.4])
    return centres[origin] + spreads[origin] * rng.normal(size=(n, 2))


def tails(n: int) -> Array:
    """Rows of two Student's t distributions, whose tails no Gaussian has."""
    rng = np.random.default_rng(4)
    centres = np.array([[0.0, 0.0], [2.0, 1.0]])
    rows = centres[rng.integers(2, size=n)]
    return rows + rng.normal(size=(n, 2)) / np.sqrt(rng.chisquare(4, size=(n, 1)) / 4)


@dataclass(frozen=True)
class Bare(Model[MixtureParameters, MixtureStatistics]):
    """A mixture that offers its E-step and M-step only, as a model of one's own may."""

    mixture: Mixture

    def initialize(self, sample: Block, rng: np.random.Generator) -> MixtureParameters:
        return self.mixture.initialize(sample, rng)

    def expect(self, block: Block, parameters: MixtureParameters) -> MixtureStatistics:
        return self.mixture.expect(block, parameters)

    def maximize(self, statistics: MixtureStatistics) -> MixtureParameters:
        return self.mixture.maximize(statistics)


@dataclass(frozen=True)
class Trace:
    """The objective of one fit, pass by pass."""

    passes: Array  # full passes made when each objective was known
    objectives: Array  # nats per row

    def gap(self, optimum: float) -> Array:
        """Nats per row short of an optimum."""
        return np.asarray(np.maximum(optimum - self.objectives, LEAST))


def traces(rows: Array, k: int) -> dict[str, Trace]:
    """All algorithms from the same start."""
    mixture = Mixture(Gaussian(), k, KMeans())
    rng = np.random.default_rng(0)
    start = mixture.initialize(Block(rows[rng.permutation(len(rows))[:SAMPLE_ROWS]]), rng)
    made = {}
    for name in LABELS:
        fitted = fit(
            Bare(mixture) if name == "anderson" else mixture,
            rows,
            start=start,
            algorithm="em" if name == "em" else "accelerated",
            init_sample=SAMPLE_ROWS,
            stopping=Stopping(0, MOST_PASSES, tol_gap=1e-10),
        )
        # a sample counts as its share of a pass
        share = SAMPLE_ROWS / len(rows) if name == "accelerated" else 0.0
        objectives = np.array(fitted.objectives)
        passes = share + np.arange(1, len(objectives) + 1)
        made[name] = Trace(passes, objectives)
    return made


def draw(axes: Axes, made: dict[str, Trace], optimum: float, title: str) -> None:
    for name, trace in made.items():
        gap = trace.gap(optimum)
        axes.loglog(trace.passes, gap, color=COLOURS[name], label=LABELS[name], lw=2)
    axes.axhline(1e-6, color="black", lw=0.8, ls=":")
    axes.set(title=title, xlabel="full passes over the data", ylim=(LEAST / 2, 1))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)


def main(path: Path) -> None:
    cases = {
        "three components that overlap": (overlapping(ROWS), 3),
        "heavy tails, four components": (tails(ROWS), 4),
    }
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (title, (rows, k)) in zip(panels, cases.items(), strict=True):
        made = traces(rows, k)
        optimum = max(trace.objectives.max() for trace in made.values())
        draw(axes, made, optimum, title)
        for name, trace in made.items():
            near = np.flatnonzero(trace.gap(optimum) <= 1e-6)
            needed = f"{trace.passes[near[0]]:g}" if len(near) else f"more than {MOST_PASSES}"
            print(f"{title}: {LABELS[name]}: {needed} passes to 1e-6 nats per row")
    panels[0].set_ylabel("nats per row short of the optimum")
    lines, labels = panels[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)
    print(f"picture in {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "passes.png"))
