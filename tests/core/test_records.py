"""Records know their fields; sums form a vector space."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dask_em.core.records import FIXED, Additive, Array, Record, Statistics
from dask_em.errors import ArchiveError, StatisticsError


@dataclass(frozen=True)
class Place(Record):
    origin: Array
    name: str = "here"


@dataclass(frozen=True)
class Sums(Additive):
    first: Array
    count: float
    place: Place = field(metadata=FIXED)
    origin: Array = field(default_factory=lambda: np.zeros(2), metadata=FIXED)


@dataclass(frozen=True)
class Outer(Statistics):
    sums: Sums


@dataclass(frozen=True)
class Anything(Record):
    value: Any
    scratch: Any = field(default=None, metadata={"transient": True})


def outer(first: Any = (1.0, 2.0), count: float = 3.0, **fixed: Any) -> Outer:
    fixed = {"place": Place(np.zeros(2)), **fixed}
    return Outer(5.0, -7.5, Sums(np.array(first), count, **fixed))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | hnp.arrays(np.float64, hnp.array_shapes(max_dims=2, max_side=3)),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.builds(Anything, inner),
    max_leaves=6,
)


@given(value=values)
def test_flatten_is_undone(value: Any) -> None:
    record = Anything(value)
    tree, arrays = record.flatten()
    again = Record.unflatten(json.loads(json.dumps(tree, allow_nan=False)), arrays)
    assert again.equals(record)
    assert record.equals(again)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_json_lacks(number: float) -> None:
    tree, _ = Anything(number).flatten()
    again = Record.unflatten(json.loads(json.dumps(tree, allow_nan=False)), {})
    assert isinstance(again, Anything)
    assert repr(again.value) == repr(number)


def test_arrays_are_named_by_their_path() -> None:
    _, arrays = outer().flatten()
    assert list(arrays) == ["sums.first", "sums.place.origin", "sums.origin"]


def test_numpy_scalars_become_numbers() -> None:
    tree, _ = Anything((np.int64(3), np.float32(0.5), np.bool_(True))).flatten()
    assert tree["fields"]["value"] == [3, 0.5, True]


def test_transient_fields_are_left_out() -> None:
    tree, arrays = Anything(1, scratch=np.ones(3)).flatten()
    assert arrays == {}
    assert Record.unflatten(tree, {}) == Anything(1)


def test_what_cannot_be_archived_is_named() -> None:
    with pytest.raises(ArchiveError, match=r"field 'value.1' holds a set"):
        Anything((1, {2})).flatten()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"record": "Nowhere", "fields": {}}, "'Nowhere', which is not installed here"),
        ({"record": "Place", "fields": {"orbit": 1}}, "fields of 'Place' do not fit"),
        ([1, 2], "expected a record, found tuple"),
    ],
)
def test_trees_that_are_no_record(tree: Any, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        Record.unflatten(tree, {})


def test_equals_asks_for_the_same_bits() -> None:
    assert outer().equals(outer())
    assert not outer().equals(outer(first=(1.0, np.nextafter(2.0, 3.0))))
    assert not Anything(np.zeros(2)).equals(Anything(np.zeros(2, np.float32)))
    assert not Anything(np.zeros(2)).equals(Anything(np.zeros((1, 2))))
    assert not Anything(np.zeros(2)).equals(Anything(0.0))
    assert not Anything(1).equals("a string")
    assert Anything(np.array([np.nan])).equals(Anything(np.array([np.nan])))


numbers = st.integers(-1000, 1000).map(float)
sums = st.builds(lambda a, b, c: outer((a, b), c), numbers, numbers, numbers)


@given(a=sums, b=sums, c=sums, factor=numbers)
def test_additive_is_a_vector_space(a: Outer, b: Outer, c: Outer, factor: float) -> None:
    assert (a + b).equals(b + a)
    assert ((a + b) + c).equals(a + (b + c))
    assert (a + 0.0 * b).equals(a)
    assert (a + b - b).equals(a)
    assert (factor * (a + b)).equals(a * factor + factor * b)
    assert (a - b).equals(a + -1.0 * b)


def test_places_stay_as_they_are() -> None:
    place = Place(np.array([3.0, 4.0]), "there")
    one = outer(place=place, origin=np.ones(2))
    total = 2.0 * (one + one)
    assert total.sums.place.equals(place)
    assert (total.sums.origin == 1).all()
    assert total.sums.count == 12


@pytest.mark.parametrize(
    ("fixed", "name"),
    [
        ({"origin": np.ones(2)}, "origin"),
        ({"place": Place(np.ones(2))}, "place"),
        ({"place": Place(np.zeros(2), "elsewhere")}, "place"),
    ],
)
def test_sums_in_different_places_do_not_add(fixed: dict[str, Any], name: str) -> None:
    message = f"Sums with different {name} were added .* accumulate both with the same parameters"
    with pytest.raises(StatisticsError, match=message):
        outer() + outer(**fixed)
    with pytest.raises(StatisticsError, match=message):
        outer() - outer(**fixed)


def test_sums_of_different_models_do_not_add() -> None:
    with pytest.raises(StatisticsError, match="cannot add Statistics to Outer"):
        outer() + Statistics(1.0, 1.0)
    with pytest.raises(StatisticsError, match="cannot add Outer to Sums"):
        outer().sums + outer()


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        outer().mass = 1.0  # type: ignore[misc]
