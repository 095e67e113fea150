"""Conditions as texts: what is understood, and what is not."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_em.errors import InputError, SchemaError
from dask_em.sources.parquet.filter import as_expression, mask_of
from dask_em.sources.where import (
    Comparison,
    Every,
    Name,
    Not,
    Null,
    OneOf,
    Some,
    parse_where,
)

TABLE = pa.table(
    {
        "depth": [5.0, 500.0, None, 1500.0],
        "year": [2009, 2010, 2011, 2012],
        "site": ["A", "B", "B", None],
        "flag": [True, False, True, False],
        "sea level": [1, 2, 3, 4],
        "price": [Decimal("1.00"), Decimal("2.25"), None, Decimal("3.25")],
        "kind": pa.array(["x", "y", "z", None]).dictionary_encode(),
        "time": pa.array([0, 1, 2, 3], pa.timestamp("s", tz="UTC")),
        # integers that are no floats
        "id": [-(2**62) - 1, 1, 2**62 + 1, None],
        "hash": pa.array([0, 1, 2**63 + 1, 2**64 - 1], pa.uint64()),
    }
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("depth < 1000", [0, 1]),
        ("depth < 1000 and year >= 2010", [1]),
        ("depth > 1000 or site == 'A'", [0, 3]),
        ("not depth < 1000", [3]),
        ("10 <= depth <= 1500", [1, 3]),
        ("year in [2009, 2012]", [0, 3]),
        ("year not in (2009, 2012)", [1, 2]),
        ("isnull(depth)", [2]),
        ("notnull(depth) and notnull(site)", [0, 1]),
        ("flag", [0, 2]),
        ("not flag", [1, 3]),
        ("`sea level` > 2", [2, 3]),
        ("year > -1 and (depth == 5 or depth == 500.0)", [0, 1]),
        ("year < 2009.5", [0]),
        ("site != 'A'", [1, 2]),
        ("time >= '1970-01-01 00:00:02'", [2, 3]),
        ("price < 2.5", [0, 1]),
        ("price in [1, 3.25]", [0, 3]),
        ("kind == 'x' or kind in ['z']", [0, 2]),
        ("year < depth", []),
        ("year in []", []),
        ("id < 1.5", [0, 1]),
        ("id > -1e-300", [1, 2]),
        ("id == 4611686018427387905", [2]),
        ("id == 4611686018427387904", []),
        ("id < 1e300 and id > -99999999999999999999999", [0, 1, 2]),
        ("hash > 1", [2, 3]),
        ("hash > -1", [0, 1, 2, 3]),
        ("hash in [1.0, 9223372036854775809, 0.5]", [1, 2]),
    ],
)
def test_rows_that_fulfil_a_condition(text: str, kept: list[int]) -> None:
    condition = parse_where(text)
    expected = [index + 1 for index in kept]
    found = TABLE.filter(as_expression(condition, TABLE.schema, "the table"))
    assert found["sea level"].to_pylist() == expected
    (batch,) = TABLE.to_batches()
    assert batch.filter(mask_of(condition, batch))["sea level"].to_pylist() == expected


def test_a_condition_is_a_value() -> None:
    assert parse_where("a < 1 and b in ['x'] or not isnull(c)") == Some(
        (
            Every((Comparison(Name("a"), "<", 1), OneOf(Name("b"), ("x",)))),
            Not(Null(Name("c"))),
        )
    )
    assert parse_where("a < 1 and b in ['x'] or not isnull(c)").names() == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "cannot be understood"),
        ("depth <", "cannot be understood"),
        ("depth < 1000 &", "cannot be understood"),
        ("__import__('os').system('true')", "__import__"),
        ("depth + 1 < 3", r"depth \+ 1"),
        ("abs(depth) < 3", r"abs\(depth\)"),
        ("depth < 1000 & year", "1000 & year"),
        ("depth is None", "isnull"),
        ("year in 2009", "2009"),
        ("1 < 2", "no column"),
        ("depth < [1]", r"\[1\]"),
        ("isnull(depth, year)", "isnull"),
        ("lambda: 0", "lambda"),
        ("df.depth < 3", "df.depth"),
    ],
)
def test_what_is_not_understood_is_named(text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        parse_where(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("dept < 3", "'dept'.*did you mean 'depth'"),
        ("depth < 'deep'", "'depth' of type double with 'deep'"),
        ("time < 'soon'", "'time' of type timestamp"),
        ("flag == 'maybe'", "'flag' of type bool"),
        ("year < site", r"cannot be compared in the table.*site \(string\), year \(int64\)"),
        ("year", r"cannot be compared in the table.*year \(int64\)"),
    ],
)
def test_what_does_not_fit_the_columns_is_named(text: str, named: str) -> None:
    with pytest.raises(SchemaError, match=named):
        as_expression(parse_where(text), TABLE.schema, "the table")


NUMBERS = st.one_of(st.integers(-5, 5), st.floats(-5, 5))
SIGNS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
LINKS = st.builds(lambda n, s, v: f"{n} {s} {v!r}", st.sampled_from("ab"), SIGNS, NUMBERS)
TEXTS = st.recursive(
    LINKS,
    lambda inner: st.one_of(
        st.builds(lambda x: f"not ({x})", inner),
        st.builds(lambda x, s, y: f"({x}) {s} ({y})", inner, st.sampled_from(["and", "or"]), inner),
    ),
    max_leaves=6,
)


@given(text=TEXTS)
def test_a_condition_means_what_python_means(text: str) -> None:
    rows = np.random.default_rng(0).integers(-5, 6, size=(40, 2))
    table = pa.table({"a": rows[:, 0], "b": rows[:, 1], "row": np.arange(40)})
    condition = parse_where(text)
    kept = table.filter(as_expression(condition, table.schema, "the table"))
    (batch,) = table.to_batches()
    masked = batch.filter(mask_of(condition, batch))
    assert masked["row"].to_pylist() == kept["row"].to_pylist()
    meant = [i for i, (a, b) in enumerate(rows.tolist()) if eval(text, {"a": a, "b": b})]
    assert kept["row"].to_pylist() == meant
