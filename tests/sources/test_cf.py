"""Packed values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_em.errors import SchemaError
from dask_em.sources.cf import Packing

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


@given(
    st.lists(st.integers(-5, 5), max_size=20),
    st.lists(st.integers(-5, 5), max_size=2),
    st.sampled_from([None, 0.5, 2.0]),
    st.sampled_from([None, -1.0, 3.0]),
)
def test_values_are_unpacked_as_the_convention_says(
    stored: list[int], missing: list[int], scale: float | None, offset: float | None
) -> None:
    attributes = {"missing_value": missing, "scale_factor": scale, "add_offset": offset}
    packing = Packing.of(attributes, "x")
    found = packing.unpack(np.array(stored, "i2"), packing.dtype(np.dtype("i2"), "x"))
    for value, raw in zip(found, stored, strict=True):
        expected = raw * (1 if scale is None else scale) + (0 if offset is None else offset)
        assert np.isnan(value) if raw in missing else value == expected


def test_a_double_attribute_meets_the_single_that_was_stored() -> None:
    found = Packing.of({"_FillValue": 1e20}, "x").unpack(np.array([1, 1e20], "f4"), FLOAT32)
    assert found.dtype == FLOAT32
    assert np.isnan(found).tolist() == [False, True]


def test_a_mark_that_the_dtype_cannot_hold_marks_nothing() -> None:
    packing = Packing.of({"_FillValue": -9999}, "x")
    assert packing.unpack(np.array([1, 241], "u1"), FLOAT64).tolist() == [1.0, 241.0]


def test_scaled_floats_are_doubles_and_plain_ones_stay() -> None:
    assert Packing.of({"scale_factor": 2}, "x").dtype(FLOAT32, "x") == FLOAT64
    assert Packing.of({"_FillValue": "AAAAAAAA+H8="}, "x") == Packing()
    assert Packing().dtype(FLOAT32, "x") == FLOAT32


def test_an_attribute_that_is_no_number() -> None:
    with pytest.raises(SchemaError, match="_FillValue of array x is 'none', which is not a number"):
        Packing.of({"_FillValue": "none"}, "x")
