"""What probabilistic PCA estimates: a mean, loadings and the variance of the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
from scipy.linalg import cho_solve

from dask_em.core.model import Repair
from dask_em.core.records import FIXED, TRANSIENT, Array, Parameters
from dask_em.errors import DegenerateError, SchemaError
from dask_em.models.frame import Frame

__all__ = ["PPCAParameters", "n_free"]


def n_free(d: int, q: int) -> int:
    """Free parameters for d features and q latent dimensions.

    Loadings are known up to a rotation, which takes q (q - 1) / 2 of them; Tipping and Bishop
    (1999), section 3.3, and d for the mean.
    """
    return d + d * q + 1 - q * (q - 1) // 2


@dataclass(frozen=True)
class PPCAParameters(Parameters):
    """``x = W z + mean + noise``, z standard normal in q dimensions, the noise isotropic.

    References
    ----------
    Tipping and Bishop (1999), J. R. Statist. Soc. B 61, 611-622; Bishop (2006), section 12.2.

    Raises
    ------
    SchemaError
        If the shapes do not fit, or the frame does not scale all features alike.
    DegenerateError
        If the noise variance is not positive.
    """

    mean: Array  # (d,) units of the data
    loadings: Array  # (d, q) W, units of the data
    noise_variance: float  # squared units of the data
    # where sums are taken; None: from the parameters themselves
    frame: Frame | None = field(default=None, metadata=FIXED)
    repaired: tuple[Repair, ...] = field(default=(), metadata=TRANSIENT)

    def __post_init__(self) -> None:
        if self.loadings.ndim != 2 or self.mean.shape != self.loadings.shape[:1]:
            raise SchemaError(
                f"a mean of shape {self.mean.shape} and loadings of shape {self.loadings.shape} do "
                "not fit; give (d,) and (d, q)"
            )
        if not self.noise_variance > 0:
            raise DegenerateError(
                f"the noise variance is {self.noise_variance}; it must be positive"
            )
        if self.frame is not None and np.ptp(self.frame.scale):
            raise SchemaError(
                f"the frame's scales run from {self.frame.scale.min()} to {self.frame.scale.max()}"
                "; noise that is alike in all features needs one scale for all"
            )

    @classmethod
    def spherical(cls, mean: Array, variance: float, frame: Frame) -> Self:
        """No latent dimensions: noise alone."""
        return cls(mean, np.zeros((len(mean), 0)), variance, frame)

    @property
    def d(self) -> int:
        return int(self.loadings.shape[0])

    @property
    def q(self) -> int:
        return int(self.loadings.shape[1])

    @property
    def n_free_parameters(self) -> int:
        """Free parameters of mean, loadings and noise."""
        return n_free(self.d, self.q)

    @cached_property
    def inner(self) -> Array:
        """(q, q) ``M = W'W + noise I``, Bishop (2006) equation 12.41."""
        return np.asarray(self.loadings.T @ self.loadings + self.noise_variance * np.eye(self.q))

    @cached_property
    def inner_factor(self) -> Array:
        """(q, q) lower triangular Cholesky factor of M.

        Raises
        ------
        DegenerateError
            If M is not positive definite to working precision.
        """
        try:
            return np.linalg.cholesky(self.inner)
        except np.linalg.LinAlgError as error:
            raise DegenerateError(
                f"a noise variance of {self.noise_variance:.3g} is lost beside loadings of up to "
                f"{np.abs(self.loadings).max(initial=0.0):.3g}; use fewer latent dimensions"
            ) from error

    @cached_property
    def gain(self) -> Array:
        """(q, d) ``M^-1 W'``: what takes a centred row to its posterior mean, equation 12.48."""
        return self.solve_inner(self.loadings.T)

    @cached_property
    def posterior_covariance(self) -> Array:
        """(q, q) covariance of the latent variables of a row without gaps, ``noise M^-1``."""
        return self.noise_variance * self.solve_inner(np.eye(self.q))

    @cached_property
    def log_determinant(self) -> float:
        """``log |C|`` by the matrix determinant lemma, nats."""
        within = 2 * float(np.log(np.diagonal(self.inner_factor)).sum())
        return (self.d - self.q) * math.log(self.noise_variance) + within

    @property
    def covariance(self) -> Array:
        """(d, d) ``C = W W' + noise I``, squared units of the data."""
        return np.asarray(self.loadings @ self.loadings.T + self.noise_variance * np.eye(self.d))

    @property
    def precision(self) -> Array:
        """(d, d) inverse of C by Woodbury's identity, Bishop (2006) equation 12.40."""
        explained = self.loadings @ self.gain
        return np.asarray((np.eye(self.d) - (explained + explained.T) / 2) / self.noise_variance)

    def solve_inner(self, right: Array) -> Array:
        """``M^-1 right`` for right (q, ...)."""
        if not self.q:
            return np.zeros_like(right)
        return np.asarray(cho_solve((self.inner_factor, True), right, check_finite=False))

    @cached_property
    def principal(self) -> tuple[Array, Array]:
        """Principal axes (q, d), orthonormal, and the variances (q,) along them, falling.

        The entry of an axis that is largest by magnitude is positive.
        """
        axes, lengths, _ = np.linalg.svd(self.loadings, full_matrices=False)
        axes = axes.T
        if self.q:
            largest = np.abs(axes).argmax(axis=1)
            axes = axes * np.where(axes[np.arange(self.q), largest] < 0, -1.0, 1.0)[:, None]
        return np.asarray(axes), np.asarray(lengths**2 + self.noise_variance)

    def rotated(self) -> Self:
        """The same density; the columns of the loadings lie along the principal axes."""
        axes, variances = self.principal
        lengths = np.sqrt(np.maximum(variances - self.noise_variance, 0.0))
        return replace(self, loadings=axes.T * lengths)

    @cached_property
    def place(self) -> Frame:
        """The frame in which sums over rows are taken."""
        if self.frame is not None:
            return self.frame
        spread = np.sqrt((self.loadings**2).sum(axis=1) + self.noise_variance)
        return Frame.around(self.mean, spread, isotropic=True)

    @property
    def unit(self) -> float:
        """What the frame divides every feature by, units of the data."""
        return float(self.place.scale[0])

    @cached_property
    def framed(self) -> PPCAParameters:
        """The parameters in the units of the frame."""
        return PPCAParameters(
            self.place.inward(self.mean),
            self.loadings / self.unit,
            self.noise_variance / self.unit**2,
        )

    def outward(self, frame: Frame) -> Self:
        """Parameters in the units of the data, of ones that are in those of a frame."""
        unit = float(frame.scale[0])
        return replace(
            self,
            mean=frame.outward(self.mean),
            loadings=self.loadings * unit,
            noise_variance=self.noise_variance * unit**2,
            frame=frame,
        )

    @cached_property
    def condition(self) -> float:
        """``(|mean|^2 + variance) / noise``, in the frame.

        Times eps, it is the relative error of a noise variance that is computed from squares.
        """
        inside = self.framed
        squares = (inside.mean**2).sum() + (inside.loadings**2).sum() + inside.noise_variance
        return float(squares / inside.noise_variance)
