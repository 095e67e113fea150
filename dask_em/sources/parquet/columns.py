"""Columns of Parquet files: which make up a row, and their values as floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dask_em.core.records import Array
from dask_em.errors import SchemaError
from dask_em.sources.names import chosen

__all__ = ["check_alike", "dtype_of", "features_of", "is_number", "unit_of", "values_of"]

#: columns that pandas writes for an index without a name
INDEX = "__index_level_"
#: keys of a field's metadata that hold its unit
UNITS = (b"units", b"unit")


def is_number(kind: pa.DataType) -> bool:
    """Whether values of a type are real numbers, truth values among them."""
    if pa.types.is_dictionary(kind):
        return is_number(kind.value_type)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)  # of a column that holds nothing but nulls
    )


def features_of(
    schema: pa.Schema, wanted: Sequence[str] | None, without: Sequence[str], where: str
) -> list[str]:
    """The columns that make up a row.

    Parameters
    ----------
    wanted : sequence of str, or None
        Names and patterns; None stands for all numbers that are no truth values.
    without : sequence of str
        Columns that are there for something else, unless they are named.

    Raises
    ------
    SchemaError
        If a name does not exist, or its column holds no numbers.
    """
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise SchemaError(f"{where} has several columns named {twice[0]!r}; give each its own name")
    numbers = [
        field.name
        for field in schema
        if is_number(field.type) and not field.name.startswith(INDEX) and field.name not in without
    ]
    if wanted is not None:
        names = chosen(wanted, schema.names, numbers, where)
        for name in names:
            _check_number(schema.field(name), where)
        return names
    names = [name for name in numbers if not pa.types.is_boolean(schema.field(name).type)]
    names = [name for name in names if not pa.types.is_null(schema.field(name).type)]
    if not names:
        raise SchemaError(f"{where} has no column of numbers; it has {_listed(schema)}")
    return names


def check_alike(found: pa.Schema, wanted: pa.Schema, file: str, first: str) -> None:
    """Refuse a file whose columns are not those of the first one, as far as they are read.

    Their order does not matter, and numbers of different types are alike.
    """
    for field in wanted:
        if field.name not in found.names:
            raise SchemaError(
                f"{file} has no column {field.name!r}, which {first} has as {field.type}; leave "
                "the file or the column out"
            )
        kind = found.field(field.name).type
        alike = kind == field.type or (is_number(kind) and is_number(field.type))
        texts = all(map(_is_text, (kind, field.type)))
        if not (alike or texts):
            raise SchemaError(
                f"column {field.name!r} is {kind} in {file} and {field.type} in {first}; write "
                "both in one type, or leave the column out"
            )


def dtype_of(kinds: Sequence[pa.DataType]) -> np.dtype[Any]:
    """float32 if no column needs more, else float64."""
    small = all(pa.types.is_float32(kind) or pa.types.is_float16(kind) for kind in kinds)
    return np.dtype(np.float32 if small else np.float64)


def unit_of(field: pa.Field) -> str | None:
    """The physical unit that a field's metadata tell."""
    told = field.metadata or {}
    return next((told[key].decode(errors="replace") for key in UNITS if key in told), None)


def values_of(column: pa.Array) -> Array:
    """(n,) values of a column of numbers, NaN where there is none; not copied where possible."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return values_of(column.dictionary_decode())
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64())
    if column.null_count and not pa.types.is_floating(kind):
        column = pc.cast(column, pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _check_number(field: pa.Field, where: str) -> None:
    if is_number(field.type):
        return
    raise SchemaError(
        f"column {field.name!r} of {where} is {field.type}, and features are real numbers; "
        + _remedy(field.name, field.type)
    )


def _remedy(name: str, kind: pa.DataType) -> str:
    if pa.types.is_temporal(kind):
        if pa.types.is_timestamp(kind):
            cast = f'(df["{name}"] - df["{name}"].min()).dt.total_seconds()'
        elif pa.types.is_duration(kind):
            cast = f'df["{name}"].dt.total_seconds()'
        else:
            cast = f'pd.to_datetime(df["{name}"]).dt.dayofyear'
        return f"store it as a number first, e.g. {cast} with pandas"
    if _is_text(kind) or pa.types.is_dictionary(kind):
        return (
            f'if it holds numbers, store it as such, e.g. df["{name}"].astype("float64"); '
            "categories want columns of 0 and 1, e.g. pandas.get_dummies"
        )
    if pa.types.is_nested(kind):
        return "store its parts as columns of their own"
    return f'store it as a number first, e.g. df["{name}"].astype("float64"), or leave it out'


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _listed(schema: pa.Schema) -> str:
    some = ", ".join(f"{field.name} ({field.type})" for field in list(schema)[:6])
    return some + (", ..." if len(schema) > 6 else "")
