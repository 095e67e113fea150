"""Extrapolation: exact for linear maps, harmless where there is nothing to learn."""

from __future__ import annotations

import numpy as np

from dask_em.core.algorithm import remaining
from dask_em.core.anderson import extrapolated


def test_a_linear_map_is_solved_from_as_many_steps_as_dimensions():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(4, 4)) / 4
    offset = rng.normal(size=4)
    points = [rng.normal(size=4) for _ in range(5)]
    images = [matrix @ point + offset for point in points]
    found = extrapolated(points, images)
    np.testing.assert_allclose(found, np.linalg.solve(np.eye(4) - matrix, offset), rtol=1e-9)


def test_what_all_points_share_is_kept():
    rng = np.random.default_rng(1)
    points = [np.append(rng.normal(size=2), 7.0) for _ in range(3)]
    images = [np.append(0.5 * point[:2] + 1, 7.0) for point in points]
    np.testing.assert_allclose(extrapolated(points, images), [2, 2, 7])


def test_one_step_or_none_that_moves_is_nothing_to_extrapolate_from():
    point = np.ones(3)
    assert extrapolated([point], [2 * point]) is None
    assert extrapolated([point, point], [point, point]) is None


def test_what_a_geometric_series_has_left():
    gains = [0.5**i for i in range(60)]
    assert abs(remaining(gains[3], gains[4]) - sum(gains[5:])) < 1e-12
    assert remaining(None, 1.0) is None
    assert remaining(1.0, 2.0) is None
