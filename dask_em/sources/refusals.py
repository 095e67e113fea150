"""What is refused of data that are opened: arguments without a meaning, and lazy objects."""

from __future__ import annotations

import os
import sys
from typing import Any

from dask_em.errors import SchemaError
from dask_em.remote.secrets import without_secrets

__all__ = ["check_where", "is_object", "name_of", "refuse_selection", "reject_lazy"]


def check_where(data: Any, where: str | None) -> None:
    """Refuse a condition on rows of data other than Parquet.

    Raises
    ------
    SchemaError
        With what to do instead.
    """
    if not where:
        return
    if is_object(data, "dask.dataframe", "DataFrame"):
        raise SchemaError("where= is for Parquet; of a dask DataFrame select rows by its .query()")
    what = (
        f"the store {without_secrets(str(data))}"
        if isinstance(data, str | os.PathLike)
        else name_of(data)
    )
    raise SchemaError(
        f"where= was given with {what}, but rows are selected only of Parquet; leave it out, and "
        'give rows that are not wanted a weight of 0, or NaN with missing="drop"'
    )


def refuse_selection(data: Any, **given: Any) -> None:
    """Refuse what has no meaning for data of a kind, by its name as an argument."""
    for name, value in given.items():
        if value is not None:
            raise SchemaError(
                f"{name}= was given with {name_of(data)}, where it has no meaning; leave it out"
                + (", or give the weights to the source itself" if name == "sample_weight" else "")
            )


def reject_lazy(data: Any) -> None:
    """Refuse what NumPy would load as a whole, or wrap as one object."""
    kind = name_of(data)
    if kind.startswith("xarray."):
        raise SchemaError(f"{kind} is not accepted as it is; pass a Dataset or a DataArray")
    if kind.startswith("dask."):
        raise SchemaError(
            f"{kind} is not accepted as it is; pass a dask array, e.g. .to_dask_array(lengths=True)"
        )
    if kind.startswith("scipy.sparse"):
        raise SchemaError(
            f"Sparse data was passed ({kind}), but dense data is required. Use '.toarray()' to "
            "convert to a dense array, if it fits into memory"
        )


def is_object(data: Any, module: str, *names: str) -> bool:
    """Whether data are of one of a library's classes; imports nothing."""
    # data of a library exist only where it has been imported
    loaded = sys.modules.get(module)
    return loaded is not None and any(
        isinstance(data, getattr(loaded, name)) for name in names if hasattr(loaded, name)
    )


def name_of(data: Any) -> str:
    """The class of data in the words of an error message."""
    return f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")
