"""Conditions on rows as pyarrow computes them, and pushes them down to statistics."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from functools import reduce
from math import floor, isfinite
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dask_em.core.names import nearest
from dask_em.errors import DataError, SchemaError
from dask_em.sources.parquet.files import Dataset
from dask_em.sources.where import (
    Comparison,
    Condition,
    Every,
    Literal,
    Name,
    Not,
    Null,
    OneOf,
    Operand,
    Some,
)

__all__ = ["as_expression", "mask_of", "without_files"]

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
    "==": pc.equal, "!=": pc.not_equal,
}  # fmt: skip


def as_expression(condition: Condition, schema: pa.Schema, where: str) -> pc.Expression:
    """A condition on the columns of a schema.

    Raises
    ------
    SchemaError
        If a column does not exist, or cannot be compared with what stands beside it; `where`
        names the data.
    """
    for name in sorted(condition.names()):
        if name not in schema.names:
            raise SchemaError(
                f"where= asks for the column {name!r}, which {where} does not have; "
                + nearest(name, schema.names)
            )
    found = _expression(condition, schema)
    nothing = pa.RecordBatch.from_pylist([], schema)
    try:
        mask_of(condition, nothing)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(
            f"where= compares what cannot be compared in {where} ({error}); its columns are "
            + ", ".join(f"{name} ({schema.field(name).type})" for name in sorted(condition.names()))
        ) from error
    return found


def without_files(dataset: Dataset, condition: Condition) -> Dataset:
    """The dataset without files of which the names of their folders say that no row is wanted.

    Raises
    ------
    DataError
        If none is left.
    """
    partitions = dataset.partition_schema()
    told = [
        part for part in _every(condition) if part.names() and part.names() <= set(partitions.names)
    ]
    if not told:
        return dataset
    values = [dict(file.values) for file in dataset.files]
    rows = [{name: one.get(name) for name in partitions.names} for one in values]
    table = pa.Table.from_pylist(rows, partitions).append_column(
        "", pa.array(range(len(rows)), pa.int64())
    )
    kept = table.filter(as_expression(Every(tuple(told)), partitions, dataset.where))
    files = tuple(dataset.files[number] for number in kept.column("").to_pylist())
    if not files:
        raise DataError(f"no file of {dataset.where} lies in a folder that where= admits")
    return replace(dataset, files=files)


def _every(condition: Condition) -> tuple[Condition, ...]:
    """The parts that must all be fulfilled."""
    if not isinstance(condition, Every):
        return (condition,)
    return tuple(inner for part in condition.conditions for inner in _every(part))


def mask_of(condition: Condition, batch: pa.RecordBatch) -> pa.BooleanArray:
    """Which rows of a batch fulfil a condition; null where it compares a null."""
    match condition:
        case Comparison(left, sign, right):
            sides = _values(left, right, batch), _values(right, left, batch)
            return COMPARISONS[sign](*sides)
        case OneOf(column, values):
            found = _column(column, batch)
            wanted = [_value(value, column.name, found.type) for value in values]
            matches = [pc.equal(found, one) for one in wanted]
            return reduce(pc.or_kleene, matches, pa.repeat(pa.scalar(False), len(batch)))
        case Null(column):
            return pc.is_null(_column(column, batch))
        case Not(inner):
            return pc.invert(mask_of(inner, batch))
        case Every(parts):
            return reduce(pc.and_kleene, [mask_of(part, batch) for part in parts])
        case Some(parts):
            return reduce(pc.or_kleene, [mask_of(part, batch) for part in parts])
    raise AssertionError(condition)


def _values(side: Operand, other: Operand, batch: pa.RecordBatch) -> pa.Array | pa.Scalar:
    if isinstance(side, Name):
        return _column(side, batch)
    assert isinstance(other, Name)
    return _value(side, other.name, _column(other, batch).type)


def _column(column: Name, batch: pa.RecordBatch) -> pa.Array:
    values = batch.column(column.name)
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _expression(condition: Condition, schema: pa.Schema) -> pc.Expression:
    match condition:
        case Comparison(left, sign, right):
            return OPERATORS[sign](_side(left, right, schema), _side(right, left, schema))
        case OneOf(column, values):
            kind = _kind(column, schema)
            matches = [pc.field(column.name) == _value(v, column.name, kind) for v in values]
            return reduce(operator.or_, matches, pc.scalar(False))
        case Null(column):
            return pc.field(column.name).is_null()
        case Not(inner):
            return ~_expression(inner, schema)
        case Every(parts):
            return reduce(operator.and_, [_expression(part, schema) for part in parts])
        case Some(parts):
            return reduce(operator.or_, [_expression(part, schema) for part in parts])
    raise AssertionError(condition)


def _side(side: Operand, other: Operand, schema: pa.Schema) -> pc.Expression:
    if isinstance(side, Name):
        return pc.field(side.name)
    assert isinstance(other, Name)
    return pc.scalar(_value(side, other.name, _kind(other, schema)))


def _kind(column: Name, schema: pa.Schema) -> pa.DataType:
    kind = schema.field(column.name).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


#: further from 0 than any integer of a column
BEYOND = 10**20


def _exact(value: float, kind: pa.DataType) -> pa.Scalar:
    """A number as integers compare with it, however large they are.

    pyarrow compares integers and floats as floats, and refuses integers that are none.
    """
    if isinstance(value, bool) or not isfinite(value):
        return pa.scalar(value)
    whole = floor(value)
    if whole != value:  # to an integer, all numbers between its neighbours are one
        return pa.scalar(Decimal(whole) + Decimal("0.5"))
    with suppress(pa.ArrowInvalid, OverflowError):  # beyond the column's type
        return pa.scalar(whole, kind)
    return pa.scalar(Decimal(max(-BEYOND, min(whole, BEYOND))))


def _value(value: Literal, name: str, kind: pa.DataType) -> pa.Scalar:
    """A literal as a column's type compares with it."""
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if numbers and not isinstance(value, str):
        if pa.types.is_decimal(kind):
            return pa.scalar(float(value))  # whatever its digits
        return _exact(value, kind) if pa.types.is_integer(kind) else pa.scalar(value)
    try:
        if pa.types.is_timestamp(kind):
            # without a zone of its own a text is meant in UTC
            return pa.scalar(value).cast(pa.timestamp(kind.unit)).cast(kind)
        return pa.scalar(value).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(
            f"where= compares the column {name!r} of type {kind} with {value!r}, which is no "
            f"{kind} ({error})"
        ) from error
