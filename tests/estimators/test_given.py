from __future__ import annotations

import pytest

from dask_em import PPCA, GaussianMixture, InputError, plan
from dask_em.estimators.given import mixture_of
from dask_em.models.covariance import STRUCTURES
from tests.estimators.common import ROWS, given


@pytest.mark.parametrize("degenerate", ["repair", "drop", "raise"])
def test_policies_are_part_of_the_mixture(degenerate):
    model, start = mixture_of(GaussianMixture(2, degenerate=degenerate), 3)
    assert (model.degenerate, model.emission.repair) == (degenerate, degenerate != "raise")
    assert start is None


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_a_start_is_given_whole_or_completed(name):
    whole = given(name)
    assert mixture_of(GaussianMixture(**whole), 3)[1] is not None
    del whole["means_init"]
    model, start = mixture_of(GaussianMixture(**whole), 3)
    assert start is None
    assert model.start.name == "given"


def test_a_plan_refuses_an_algorithm_as_the_fit_does():
    for unknown in ("extrapolated", "newton"):
        with pytest.raises(InputError, match=f"algorithm='{unknown}'"):
            plan(ROWS, GaussianMixture(2), algorithm=unknown, probe=False)
        with pytest.raises(InputError, match=f"algorithm='{unknown}'"):
            plan(ROWS, PPCA(2), algorithm=unknown, probe=False)
