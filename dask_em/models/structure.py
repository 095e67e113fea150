"""Structure: how the k covariances of a mixture are restricted.

Shapes of covariances, and of the factors U of precisions ``P = U @ U.T`` (U upper triangular), are
scikit-learn's: full (k, d, d), tied (d, d), diagonal (k, d), spherical (k,).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from dask_em.core.records import Array, Record
from dask_em.models.charts import CovarianceChart

__all__ = ["Structure"]


@dataclass(frozen=True)
class Structure(Record, ABC):
    """How the k covariances of a mixture are restricted."""

    name: ClassVar[str]
    #: whether all features must share one scale for the structure to keep its meaning
    isotropic: ClassVar[bool] = False
    #: whether one covariance serves all components
    shared: ClassVar[bool] = False

    @abstractmethod
    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """Shape of the covariances."""

    @abstractmethod
    def n_free(self, k: int, d: int) -> int:
        """Free parameters of the covariances."""

    @abstractmethod
    def factor(self, covariances: Array) -> Array:
        """Factors U of the precisions. Raises numpy's LinAlgError if one is not positive."""

    @abstractmethod
    def precisions(self, factors: Array) -> Array:
        """``P = U @ U.T``, in the shape of the covariances."""

    @abstractmethod
    def factor_of_precisions(self, precisions: Array) -> Array:
        """Factors U of given precisions. Raises numpy's LinAlgError if one is not positive."""

    @abstractmethod
    def covariances(self, factors: Array) -> Array:
        """The covariances whose precisions have the given factors."""

    @abstractmethod
    def half_log_det(self, factors: Array, d: int) -> Array:
        """(k,) or scalar: half the log-determinant of the precisions."""

    @abstractmethod
    def whiten(self, means: Array, factors: Array) -> Array:
        """(k, d) ``U.T @ mean`` of each component."""

    @abstractmethod
    def unwhiten(self, whitened: Array, factors: Array) -> Array:
        """(k, d) ``U @ v`` of each component."""

    @abstractmethod
    def n_lifted(self, d: int) -> int:
        """How many quadratic features a lifted row has."""

    @abstractmethod
    def lift(self, rows: Array, out: Array) -> None:
        """Write the quadratic features (n_lifted, b) of feature-major rows (d, b)."""

    @abstractmethod
    def natural(self, factors: Array, k: int, d: int) -> Array:
        """(k, n_lifted) coefficients of the quadratic features in the log-density."""

    @abstractmethod
    def from_moments(self, counts: Array, deviations: Array, second: Array) -> Array:
        """Covariances from counts (k,), means less origin (k, d) and second moments."""

    @abstractmethod
    def about(self, counts: Array, shift: Array, first: Array, second: Array) -> Array:
        """Second moments about origins that are moved by shift (k, d)."""

    @abstractmethod
    def half_trace(self, factors: Array, second: Array) -> float:
        """Half the trace of the precisions times second moments, over all components."""

    @abstractmethod
    def noise(self, counts: Array, variances: Array) -> Array:
        """Second moments that raise the covariances of counts (k,) by variances (d,)."""

    @abstractmethod
    def chart(self, covariances: Array, mass: Array, d: int) -> CovarianceChart:
        """Coordinates around covariances, of components that have shares mass (k,) of the rows."""

    @abstractmethod
    def second_shape(self, k: int, d: int) -> tuple[int, ...]:
        """Shape of the second moments."""

    @abstractmethod
    def scaled(self, covariances: Array, scale: Array) -> Array:
        """Covariances after each feature is multiplied by scale (d,)."""

    @abstractmethod
    def rescaled(self, factors: Array, scale: Array) -> Array:
        """Factors of the precisions after each feature is divided by scale (d,)."""

    @abstractmethod
    def inflated(self, covariances: Array, amounts: Array) -> Array:
        """Covariances with amounts (d,) added to the variances of the features."""

    @abstractmethod
    def dense(self, covariances: Array, component: int, d: int) -> Array:
        """(d, d) covariance of one component."""

    @abstractmethod
    def floored(self, covariances: Array, floor: float) -> tuple[Array, dict[int, int]]:
        """Covariances whose eigenvalues are at least `floor`.

        Also which components were below it, each with the feature of the smallest variance.
        """

    @abstractmethod
    def smallest(self, covariances: Array, k: int) -> Array:
        """(k,) smallest eigenvalue of each covariance."""

    @abstractmethod
    def largest(self, covariances: Array, k: int) -> Array:
        """(k,) largest variance of a feature in each component."""

    @abstractmethod
    def centred(self, centred: Array, factors: Array, component: int) -> Array:
        """(b,) squared Mahalanobis length of rows less their mean (b, d), which are overwritten."""

    def dense_shape(self, k: int, d: int) -> tuple[int, ...]:
        """Shape in which `scatter` accumulates second moments."""
        return self.second_shape(k, d)

    @abstractmethod
    def scatter(self, rows: Array, dense: Array, component: int) -> None:
        """Add second moments of rows (b, d), which are less their origin and times sqrt(share)."""

    def packed(self, dense: Array) -> Array:
        """Second moments in `second_shape` of what `scatter` accumulated."""
        return dense
