"""The law suite over every model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dask_em.testing.models import MODEL_LAWS, ModelCase
from tests.laws.cases import CASES


@pytest.mark.parametrize("law", MODEL_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_laws(case: ModelCase, law: Callable[[ModelCase], None]) -> None:
    law(case)
