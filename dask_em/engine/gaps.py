"""Which model rows with NaN are given to, and what is said of them where they are refused."""

from __future__ import annotations

from typing import Any

from dask_em.core.block import Missing
from dask_em.core.model import Model, SupportsGaps
from dask_em.errors import SchemaError

__all__ = ["missing_of", "with_gaps"]


def missing_of(policy: str, model: Any) -> Missing:
    """The policy on NaN of a fit or question to a model.

    Raises
    ------
    SchemaError
        If there is no such policy, or the model does not do with what is observed of a row.
    """
    missing = Missing(policy, isinstance(model, SupportsGaps))
    if policy == "model" and not missing.modelled:
        raise SchemaError(
            f'missing="model", but a {type(model).__name__} needs whole rows; pass missing="drop" '
            "to leave rows with NaN out, or fit a PPCA, which does with what is observed of them"
        )
    return missing


def with_gaps(model: Model[Any, Any], missing: Missing) -> Model[Any, Any]:
    """The model that is fitted under a policy."""
    if missing.policy == "model" and isinstance(model, SupportsGaps):
        return model.with_gaps()
    return model
