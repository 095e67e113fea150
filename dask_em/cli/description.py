"""Description: what the commands say of a fitted model, of whatever kind it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from dask_em.cli.results import conclusion

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dask_em.cli.kinds import Estimator

__all__ = ["MOST_COMPONENTS", "Description", "description_of"]

#: components, or axes, that a table shows at most
MOST_COMPONENTS = 20


class Description(ABC):
    """What there is to say of one estimator."""

    def __init__(self, fitted: Estimator) -> None:
        self.fitted = fitted

    @property
    @abstractmethod
    def words(self) -> str:
        """What it is made of, e.g. ``"3 components, full covariance"``."""

    @property
    @abstractmethod
    def log_likelihood(self) -> float | None:
        """Nats per row, where a pass has told it."""

    @property
    def ending(self) -> str:
        """How its fit ended, and where."""
        value = self.log_likelihood
        reached = "" if value is None else f"; log-likelihood {value:.9f} per row"
        return conclusion(self.fitted) + reached

    @abstractmethod
    def table(self) -> RenderableType:
        """Its parts."""

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """Its arrays, as JSON has them."""

    @abstractmethod
    def main(self) -> dict[str, Any]:
        """Those that a fit tells."""

    @abstractmethod
    def remarks(self) -> dict[str, str]:
        """What else there is to say of its fit, by subject."""

    @abstractmethod
    def next_steps(self, model: str, data: str) -> list[str]:
        """Commands that use the model."""

    @property
    def names(self) -> list[str]:
        """Of the features that the model sees; their numbers where they have none."""
        from dask_em.estimators.mapping import fitted_features

        found = fitted_features(self.fitted)
        return list(found.names or map(str, range(found.n)))

    @property
    def labels(self) -> list[str]:
        """The same with their units."""
        from dask_em.estimators.mapping import fitted_features

        return fitted_features(self.fitted).labels

    @property
    def labels_in(self) -> list[str]:
        """Those of the data, before any mapping."""
        from dask_em.estimators.names import features_in

        return features_in(self.fitted).labels

    @property
    def mapping(self) -> list[str]:
        """What is done to rows before the model sees them."""
        return [step.words for step in getattr(self.fitted, "mapping_", None) or ()]


def description_of(fitted: Any) -> Description:
    """The description of a fitted estimator."""
    from dask_em.cli.mixture_description import MixtureDescription
    from dask_em.cli.ppca_description import PPCADescription
    from dask_em.estimators.ppca import PPCA

    return PPCADescription(fitted) if isinstance(fitted, PPCA) else MixtureDescription(fitted)
