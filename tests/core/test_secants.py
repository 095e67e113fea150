"""Secants: what is known is kept, what is not known is not invented."""

from __future__ import annotations

import numpy as np

from dask_em.core.secants import Secants

RNG = np.random.default_rng(0)
_HALF = RNG.normal(size=(6, 6))
MATRIX = _HALF + _HALF.T


def pairs(moves):
    return [(move, MATRIX @ move) for move in moves]


def test_nothing_known_is_nothing_added():
    none = Secants.none(6)
    vector = RNG.normal(size=6)
    assert not none.times(vector).any()
    assert none.form(vector) == 0


def test_every_known_move_makes_its_difference():
    moves = RNG.normal(size=(3, 6))
    found = Secants.through(6, pairs(moves))
    assert found.directions.shape == (6, 3)
    for move, difference in pairs(moves):
        np.testing.assert_allclose(found.times(move), difference, atol=1e-12)


def test_the_matrix_is_symmetric_and_whole_when_all_directions_are_known():
    found = Secants.through(6, pairs(np.eye(6)))
    dense = np.stack([found.times(axis) for axis in np.eye(6)], axis=1)
    np.testing.assert_allclose(dense, MATRIX, atol=1e-12)
    part = Secants.through(6, pairs(RNG.normal(size=(2, 6))))
    dense = np.stack([part.times(axis) for axis in np.eye(6)], axis=1)
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)


def test_it_is_the_least_matrix_that_explains_them():
    """At right angles to all that is known, and to what is known of it, it is zero."""
    moves = RNG.normal(size=(2, 6))
    found = Secants.through(6, pairs(moves))
    beyond = np.linalg.svd(moves)[2][2:]
    inner = [abs(one @ found.times(other)) for one in beyond for other in beyond]
    assert max(inner) < 1e-12


def test_the_form_is_half_the_square():
    found = Secants.through(6, pairs(np.eye(6)))
    vector = RNG.normal(size=6)
    np.testing.assert_allclose(found.form(vector), 0.5 * vector @ MATRIX @ vector)


def test_a_move_that_is_hardly_new_is_left_out_and_the_shorter_one_counts():
    short = 0.1 * np.eye(6)[0]
    nearly = np.eye(6)[0] + 0.1 * np.eye(6)[1]
    found = Secants.through(6, [(nearly, np.full(6, 1e3)), (short, MATRIX @ short)])
    assert found.directions.shape == (6, 1)
    np.testing.assert_allclose(found.times(short), MATRIX @ short, atol=1e-12)


def test_no_move_at_all_tells_nothing():
    assert Secants.through(6, [(np.zeros(6), np.zeros(6))]).directions.shape == (6, 0)
