"""scikit-learn's checks of the manners that every estimator is to have, for PPCA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from dask_em import PPCA

ESTIMATORS = [
    PPCA(),
    PPCA(1),
    PPCA(1, missing="drop"),
    PPCA(1, missing="model"),
    PPCA(1, algorithm="em", max_iter=20),
    PPCA(1, solver="em"),
    PPCA(0.8, rotation=False),
    PPCA("bic"),
]


@parametrize_with_checks(ESTIMATORS)
@pytest.mark.filterwarnings("default")
def test_manners(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
