"""Records compared number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dask_em.core.records import Array, Record

__all__ = ["assert_close", "assert_number"]


def assert_close(found: Record, expected: Record, tolerance: float) -> None:
    """Both hold the same fields, with the same numbers up to rounding.

    Parameters
    ----------
    found, expected : Record
        Where `expected` has None, anything will do.
    tolerance : float
        Most by which a number may differ, relative to the largest of its array, or to 1 where
        that is smaller: sums that cancel have no digits of their own.
    """
    assert type(found) is type(expected), f"{type(found).__name__}, not {type(expected).__name__}"
    tree, arrays = found.flatten()
    expected_tree, expected_arrays = expected.flatten()
    _compare(tree, expected_tree, type(found).__name__, tolerance)
    for name, values in expected_arrays.items():
        _assert_array(arrays[name], values, tolerance, name)


def assert_number(found: float, expected: float, tolerance: float, name: str) -> None:
    """The numbers differ by at most a tolerance relative to the larger of 1 and the second."""
    error = abs(found - expected)
    limit = tolerance * max(1.0, abs(expected))
    assert error <= limit, f"{name} is {found!r}, not {expected!r}: off by {error:.2g}"


def _compare(found: Any, expected: Any, name: str, tolerance: float) -> None:
    if expected is None:
        return
    if isinstance(expected, Mapping):
        assert isinstance(found, Mapping), f"{name} is {found!r}, not {expected!r}"
        assert found.keys() == expected.keys(), f"{name} has {set(found)}, not {set(expected)}"
        for key, value in expected.items():
            _compare(found[key], value, f"{name}.{key}", tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected), f"{name} has {len(found)} parts, not {len(expected)}"
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            _compare(one, other, f"{name}.{index}", tolerance)
    elif isinstance(expected, float):
        assert_number(float(found), expected, tolerance, name)
    else:
        assert found == expected, f"{name} is {found!r}, not {expected!r}"


def _assert_array(found: Array, expected: Array, tolerance: float, name: str) -> None:
    assert found.shape == expected.shape, f"{name} has shape {found.shape}, not {expected.shape}"
    if not expected.size:
        return
    error = float(np.max(np.abs(found - expected)))
    limit = tolerance * max(1.0, float(np.max(np.abs(expected))))
    assert error <= limit, f"{name} is off by {error:.2g}, more than {limit:.2g}"
