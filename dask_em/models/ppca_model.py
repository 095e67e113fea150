"""What models of latent dimensions share, whether rows have gaps or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from dask_em.core.block import Block
from dask_em.core.model import Model, Repair
from dask_em.core.records import Array, Statistics
from dask_em.errors import DataError, InputError
from dask_em.models.frame import Frame, mean_and_spread
from dask_em.models.ppca_closed import check_latent
from dask_em.models.ppca_noise import NoiseFloor
from dask_em.models.ppca_parameters import PPCAParameters, n_free
from dask_em.models.ppca_posterior import RowPosterior

__all__ = ["STARTS", "LatentModel", "draw", "random_start"]

S = TypeVar("S", bound=Statistics)

STARTS = ("closed", "random")
#: features whose mean and spread are computed at once, so that a wide sample is not copied
COLUMNS = 256


@dataclass(frozen=True)
class LatentModel(Model[PPCAParameters, S]):
    """Rows of a latent normal variable, seen through loadings and noise.

    Parameters
    ----------
    n_components : int
        Latent dimensions q, 1 to d - 1.
    start : {"closed", "random"}
        Whether a fit starts from what a sample tells in closed form, or from random loadings.
    floor : NoiseFloor
        What happens when the latent dimensions explain all of the data.
    """

    n_components: int
    start: str = "closed"
    floor: NoiseFloor = field(default_factory=NoiseFloor)

    def __post_init__(self) -> None:
        if self.n_components < 1:
            raise InputError(f"n_components={self.n_components}; it must be 1 or more")
        if self.start not in STARTS:
            raise InputError(f"start={self.start!r}; it must be one of {STARTS}")

    def near(self, sample: Block) -> tuple[Array, float, Frame]:
        """Mean (d,) of rows without gaps, the mean variance of their features, a frame near them.

        Raises
        ------
        InputError
            If there are too many latent dimensions.
        DataError, DegenerateError
            If there are no rows, or all are alike.
        """
        check_latent(self.n_components, sample.n_features)
        if not sample.mass > 0:
            raise DataError("there are no rows to start from; give one with a positive weight")
        columns = [
            mean_and_spread(
                sample.values[:, start : start + COLUMNS].astype(np.float64), sample.weights
            )
            for start in range(0, sample.n_features, COLUMNS)
        ]
        mean, spread = (np.concatenate(part) for part in zip(*columns, strict=True))
        # a variance of zero is refused here; what a floor allows begins above it
        variance, _ = self.floor.apply(float((spread**2).mean()), float((spread**2).mean()))
        return mean, variance, Frame.around(mean, spread, isotropic=True)

    def sample(
        self, n_rows: int, parameters: PPCAParameters, rng: Generator
    ) -> tuple[Array, Array]:
        """Rows (n_rows, d) and the number of their component (n_rows,), which is 0."""
        return draw(n_rows, parameters, rng), np.zeros(n_rows, dtype=np.intp)

    def latent(self, block: Block, parameters: PPCAParameters) -> RowPosterior:
        return RowPosterior(block.values, parameters)

    def n_free_parameters(self, parameters: PPCAParameters) -> int:
        return parameters.n_free_parameters

    def n_parameters(self, n_features: int) -> int | None:
        return n_free(n_features, self.n_components)

    def repairs(self, parameters: PPCAParameters) -> tuple[Repair, ...]:
        return parameters.repaired

    def reseed(self, parameters: PPCAParameters, sample: Block) -> PPCAParameters:
        """The parameters: a floor under the noise leaves nothing to be moved."""
        return parameters


def random_start(
    mean: Array, variance: float, frame: Frame, n_components: int, rng: Generator
) -> PPCAParameters:
    """Loadings at random; they and the noise explain half of the variance each."""
    loadings = rng.normal(size=(len(mean), n_components)) * np.sqrt(variance / 2 / n_components)
    return PPCAParameters(mean, loadings, variance / 2, frame)


def draw(n_rows: int, parameters: PPCAParameters, rng: Generator) -> Array:
    """Rows (n_rows, d) from the density."""
    latent = rng.standard_normal((n_rows, parameters.q))
    noise = rng.standard_normal((n_rows, parameters.d)) * np.sqrt(parameters.noise_variance)
    return np.asarray(latent @ parameters.loadings.T + parameters.mean + noise)
