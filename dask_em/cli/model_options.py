"""Options of several commands that say what the model is and how it is fitted."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "Algorithm", "BadChunk", "By", "Components", "Covariance", "Degenerate", "DegeneratePolicy",
    "GapPolicy", "Init", "Kind", "LatentDims", "Missing", "MissingPolicy", "OnBadChunk",
    "OnSkipped", "RegCovar", "Seed", "SolverName", "Start", "TolGap", "Which",
]  # fmt: skip

MODEL, MIXTURE, LATENT = "The model", "Gaussian mixtures", "Probabilistic PCA"

# commands with few options have these outside the panel
COVARIANCE = "Structure of the covariances."
MISSING = "Refuse rows with NaN, or leave them out."
GAPS = "Refuse rows with NaN, leave them out, or use what is observed of them (ppca)."
SOLVER = "Closed form from one pass, or EM pass after pass."
ON_BAD_CHUNK = "Stop at an unreadable chunk, or skip it."


class Kind(StrEnum):
    """Which model."""

    gmm = "gmm"
    ppca = "ppca"


class Covariance(StrEnum):
    """Structure of the covariances."""

    full = "full"
    tied = "tied"
    diag = "diag"
    spherical = "spherical"


class Start(StrEnum):
    """How a start is made."""

    kmeans = "kmeans"
    kmeans_pp = "k-means++"
    random = "random"
    random_from_data = "random_from_data"


class Algorithm(StrEnum):
    """Which parameters a pass tries."""

    auto = "auto"
    em = "em"
    accelerated = "accelerated"


class SolverName(StrEnum):
    """How a PPCA finds its optimum."""

    auto = "auto"
    gram = "gram"
    em = "em"


class MissingPolicy(StrEnum):
    """What happens to rows that hold NaN, where the model needs whole rows."""

    error = "error"
    drop = "drop"


class GapPolicy(StrEnum):
    """What happens to rows that hold NaN, where some model does with what is observed."""

    error = "error"
    drop = "drop"
    model = "model"


class BadChunk(StrEnum):
    """What happens when a chunk cannot be read."""

    stop = "raise"
    skip = "skip"


class DegeneratePolicy(StrEnum):
    """What happens to components that are empty, equal to another, or singular."""

    repair = "repair"
    drop = "drop"
    stop = "raise"


By: TypeAlias = Annotated[
    Algorithm,
    typer.Option(help="Plain EM, or few passes with a sample in between.", rich_help_panel=MODEL),
]
TolGap: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Stop when the optimum is estimated to be nearer, nats per row.",
        rich_help_panel=MODEL,
    ),
]
Which: TypeAlias = Annotated[
    Kind,
    typer.Option("--model", help="A mixture of Gaussians, or probabilistic PCA."),
]
Components: TypeAlias = Annotated[
    int | None,
    typer.Option("--components", "-k", min=1, help="Number of components of a mixture."),
]
LatentDims: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--latent-dims",
        "-q",
        metavar="Q",
        help="Latent dimensions of a PPCA: a number, the fraction of the variance that they have "
        "to explain, e.g. 0.95, or bic.",
    ),
]
Init: TypeAlias = Annotated[
    Start, typer.Option(help="How a start is made.", rich_help_panel=MIXTURE)
]
Seed: TypeAlias = Annotated[
    int | None, typer.Option(min=0, help="Chance in the starts.", rich_help_panel=MODEL)
]
RegCovar: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0, help="Added to every variance, squared units of the data.", rich_help_panel=MIXTURE
    ),
]
Missing: TypeAlias = Annotated[MissingPolicy, typer.Option(help=MISSING, rich_help_panel=MODEL)]
OnBadChunk: TypeAlias = Annotated[BadChunk, typer.Option(help=ON_BAD_CHUNK, rich_help_panel=MODEL)]
OnSkipped: TypeAlias = Annotated[
    BadChunk | None,
    typer.Option(
        "--on-bad-chunk",
        help="Stop at an unreadable chunk, or give its rows the label -1, all else NaN. By default "
        "as in the fit.",
    ),
]
Degenerate: TypeAlias = Annotated[
    DegeneratePolicy,
    typer.Option(help="What happens to useless components.", rich_help_panel=MIXTURE),
]
