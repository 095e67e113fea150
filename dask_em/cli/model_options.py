"""Options of several commands that say what the model is and how it is fitted."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "Algorithm", "BadChunk", "By", "Components", "Covariance", "Degenerate", "DegeneratePolicy",
    "Init", "Missing", "MissingPolicy", "OnBadChunk", "RegCovar", "Seed", "Start", "TolGap",
]  # fmt: skip

MODEL = "The model"

# commands with few options have these outside the panel
COVARIANCE = "Structure of the covariances."
MISSING = "Refuse rows with NaN, or leave them out."
ON_BAD_CHUNK = "Stop at an unreadable chunk, or skip it."


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


class MissingPolicy(StrEnum):
    """What happens to rows that hold NaN."""

    error = "error"
    drop = "drop"


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
Components: TypeAlias = Annotated[
    int, typer.Option("--components", "-k", min=1, help="Number of components.")
]
Init: TypeAlias = Annotated[Start, typer.Option(help="How a start is made.", rich_help_panel=MODEL)]
Seed: TypeAlias = Annotated[
    int | None, typer.Option(min=0, help="Chance in the starts.", rich_help_panel=MODEL)
]
RegCovar: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0, help="Added to every variance, squared units of the data.", rich_help_panel=MODEL
    ),
]
Missing: TypeAlias = Annotated[MissingPolicy, typer.Option(help=MISSING, rich_help_panel=MODEL)]
OnBadChunk: TypeAlias = Annotated[BadChunk, typer.Option(help=ON_BAD_CHUNK, rich_help_panel=MODEL)]
Degenerate: TypeAlias = Annotated[
    DegeneratePolicy,
    typer.Option(help="What happens to useless components.", rich_help_panel=MODEL),
]
