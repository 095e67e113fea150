"""What is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from dask_em import DataError, GaussianMixture, SourceError
from tests.estimators.common import (
    ROWS,
    fitted,
)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:, 0], "Expected 2D array, got 1D array instead|Expected 2D array, got 1D"),
        (np.empty((0, 3)), "0 sample"),
        (np.empty((5, 0)), r"0 feature\(s\)"),
        (ROWS[:2], "Expected n_samples >= n_components but got n_components = 3, n_samples = 2"),
        (np.full((9, 2), "a"), "could not convert string to float"),
        (ROWS + 1j, "Complex data not supported"),
        (ROWS[:1], "minimum of 2 is required"),
    ],
    ids=["1-d", "no rows", "no features", "too few rows", "text", "complex", "one row"],
)
def test_arrays_that_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianMixture(3).fit(rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (da.from_array(ROWS[:, 0]), "1-?D|1 dimension|features"),
        (da.zeros((0, 3)), "n_components = 3, n_samples = 0"),
        (da.from_array(ROWS[:2]), "n_components = 3, n_samples = 2"),
        (da.from_array(np.full((9, 2), "a")), "dtype <U1"),
        (da.from_array(ROWS + 1j), "dtype complex128"),
        (np.full((2, 3, 2), "a"), "dtype <U1"),
    ],
    ids=["1-d", "no rows", "too few rows", "text", "complex", "3-d text"],
)
def test_lazy_arrays_that_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianMixture(3).fit(rows)


@pytest.mark.parametrize("container", [np.asarray, da.from_array, lambda x: x.reshape(4, -1, 2)])
def test_another_number_of_features(container: Any) -> None:
    message = "X has 2 features, but GaussianMixture is expecting 3 features as input"
    with pytest.raises(ValueError, match=message):
        fitted().predict(container(ROWS[:, :2]))


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere.zarr"):
        GaussianMixture().fit(tmp_path / "nowhere.zarr")


def test_values_too_large_to_be_squared() -> None:
    rows = ROWS * 1e200
    with pytest.raises(DataError, match="too large to be squared"):
        GaussianMixture(3, means_init=rows[:3], random_state=0).fit(rows)
