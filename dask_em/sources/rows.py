"""What stored values become: rows of float32 or float64, and weights of float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_em.core.block import check_weights
from dask_em.core.records import Array
from dask_em.errors import DataError, SchemaError

__all__ = ["as_rows", "as_weights", "row_dtype"]


def row_dtype(dtype: Any, what: str) -> np.dtype[Any]:
    """The dtype of rows whose stored dtype is given.

    float32 stays, float16 becomes float32, every other real number becomes float64.

    Raises
    ------
    SchemaError
        If the values are not real numbers; `what` names the place.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    raise SchemaError(f"{what} has dtype {dtype}, rows are real numbers; {_remedy(dtype)}")


def _remedy(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "c":
        return "Complex data not supported: give .real and .imag as two features"
    if dtype.kind in "mM":
        return "convert times to numbers first, e.g. (x - x.min()) / np.timedelta64(1, 's')"
    if dtype.kind == "V":
        return "give its numeric fields as features, e.g. structured_to_unstructured(x)"
    return "convert first, with .astype('float64') or by encoding its categories as numbers"


def as_rows(part: Any, dtype: np.dtype[Any], n_features: int) -> Array:
    """The (n, d) rows of an array whose last axes are features, copied only where needed.

    Masked values become NaN.
    """
    if isinstance(part, np.ma.MaskedArray):
        part = np.ma.filled(part.astype(dtype), np.nan)
    part = np.asarray(part).astype(dtype, copy=False)
    n = part.size // n_features
    return np.asarray(part.reshape(n, n_features))


def as_weights(part: Any, n_rows: int, where: str) -> Array:
    """The (n,) weights of one chunk.

    Raises
    ------
    DataError
        If a weight is negative, NaN or infinite; `where` names the chunk. That all are zero is
        no error in one chunk.
    """
    weights = np.asarray(part).reshape(-1)
    if not weights.any() and weights.shape == (n_rows,):
        return np.zeros(n_rows)
    try:
        return check_weights(weights, n_rows)
    except (DataError, SchemaError) as error:
        raise type(error)(f"weights of {where}: {error}") from None
