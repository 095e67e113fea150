"""Generators of chance from what scikit-learn calls a `random_state`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from sklearn.utils import check_random_state

__all__ = ["drawing_of", "fitting_of", "generator_of", "seeds_of"]


def seeds_of(random_state: Any) -> list[int]:
    """Four seeds, which move a RandomState on."""
    return [int(seed) for seed in check_random_state(random_state).randint(2**31 - 1, size=4)]


def generator_of(random_state: Any) -> Generator:
    """A generator seeded by it."""
    return np.random.default_rng(seeds_of(random_state))


def fitting_of(random_state: Any, kept: bool) -> Generator | None:
    """The generator of a fit, of which a checkpoint may be kept."""
    if random_state is None and kept:
        return None  # any will do: a fit that goes on takes that of its checkpoint
    return generator_of(random_state)


def drawing_of(estimator: Any, random_state: Any) -> Generator:
    """The generator of an estimator's next draw of rows.

    Where nothing but an int in the estimator's own ``random_state`` decides, each draw is another
    of one sequence.
    """
    if random_state is None and isinstance(estimator.random_state, int | np.integer):
        estimator._draws = getattr(estimator, "_draws", 0) + 1
        return np.random.default_rng([int(estimator.random_state), estimator._draws])
    return generator_of(estimator.random_state if random_state is None else random_state)
