"""A law that cannot fail proves nothing: each is broken once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings

from dask_em import archive
from dask_em.core.block import Block
from dask_em.core.records import Array
from dask_em.models.covariance import Full
from dask_em.models.gaussian import Gaussian, Gaussians
from dask_em.models.mixture import Mixture, MixtureParameters, MixtureStatistics
from dask_em.models.seeding import KMeans
from dask_em.testing import models as laws
from dask_em.testing.models import MODEL_LAWS, ModelCase
from tests.laws.cases import GAUSSIAN

CASE = GAUSSIAN[0]


@pytest.fixture(autouse=True)
def without_shrinking() -> Iterator[None]:
    """One counterexample will do, it need not be the simplest."""
    usual = settings.get_current_profile_name()
    settings.register_profile("hasty", settings.get_profile(usual), phases=[Phase.generate])
    settings.load_profile("hasty")
    yield
    settings.load_profile(usual)


@dataclass(frozen=True)
class Sound(Mixture):
    """Nothing is wrong with it: the faults below are."""


class Averages(Sound):
    def expect(self, block: Block, parameters: MixtureParameters) -> MixtureStatistics:
        sums = super().expect(block, parameters)
        return sums * (1 / max(block.mass, 1.0))


class IgnoresWeights(Sound):
    def expect(self, block: Block, parameters: MixtureParameters) -> MixtureStatistics:
        return super().expect(Block(block.values), parameters)


class CountsFromOne(Sound):
    def expect(self, block: Block, parameters: MixtureParameters) -> MixtureStatistics:
        sums = super().expect(block, parameters)
        return replace(sums, counts=sums.counts + 1e-6)


class PrefersTheFirstRow(Sound):
    def expect(self, block: Block, parameters: MixtureParameters) -> MixtureStatistics:
        sums = super().expect(block, parameters)
        first = float(block.values[0, 0]) if len(block) else 0.0
        return replace(sums, log_likelihood=sums.log_likelihood + 1e-3 * first)


class PrefersTheFirstComponent(Sound):
    def maximize(self, statistics: MixtureStatistics) -> MixtureParameters:
        found = super().maximize(statistics)
        weights = found.weights + np.eye(found.k)[0] * 0.1
        return replace(found, weights=weights / weights.sum())


class PullsToZero(Sound):
    def maximize(self, statistics: MixtureStatistics) -> MixtureParameters:
        found = super().maximize(statistics)
        components: Any = found.components
        return replace(found, components=replace(components, means=0.7 * components.means))


class SumsInFloat32(Sound):
    def expect(self, block: Block, parameters: MixtureParameters) -> MixtureStatistics:
        sums = super().expect(block, parameters)
        return replace(sums, counts=sums.counts.astype(block.values.dtype))


class ForgetsTheRowConstant(Sound):
    def posterior(self, block: Block, parameters: MixtureParameters) -> tuple[Array, Array]:
        shares, log_density = super().posterior(block, parameters)
        return shares, log_density + 0.5


class Loses(Gaussians):
    """Is another value after it was used."""

    @cached_property
    def condition(self) -> float:
        object.__setattr__(self, "means", self.means + 1e-9)
        return 1.0


class Used(Sound):
    def maximize(self, statistics: MixtureStatistics) -> MixtureParameters:
        found = super().maximize(statistics)
        one: Any = found.components
        return replace(
            found, components=Loses(one.means, one.covariances, one.structure, one.frame)
        )


@pytest.mark.parametrize(
    ("model", "law"),
    [
        (Averages, laws.blocks_and_merge_trees_change_nothing),
        (PrefersTheFirstRow, laws.blocks_and_merge_trees_change_nothing),
        (CountsFromOne, laws.an_empty_block_is_zero),
        (IgnoresWeights, laws.an_integer_weight_is_repetition),
        (PrefersTheFirstRow, laws.the_order_of_rows_changes_nothing),
        (PullsToZero, laws.the_objective_never_falls),
        (PrefersTheFirstComponent, laws.names_of_components_mean_nothing),
        (PullsToZero, laws.moving_and_scaling_rows_moves_and_scales),
        (SumsInFloat32, laws.float32_rows_give_float64_sums),
        (PullsToZero, laws.planted_parameters_are_found),
        (PrefersTheFirstComponent, laws.an_oracle_agrees),
        (IgnoresWeights, laws.an_oracle_agrees),
        (ForgetsTheRowConstant, laws.posteriors_agree_with_the_e_step),
        (Used, laws.pickles_and_tokens_are_stable),
    ],
)
def test_a_fault_is_found(model: type[Mixture], law: Callable[[ModelCase], None]) -> None:
    law(replace(CASE, model=Sound(Gaussian(Full()), 3, KMeans())))
    with pytest.raises(AssertionError):
        law(replace(CASE, model=model(Gaussian(Full()), 3, KMeans())))


def test_sums_that_do_not_add() -> None:
    @dataclass(frozen=True)
    class Odd(MixtureStatistics):
        def __sub__(self, other: Any) -> Any:
            return self + other

    class Subtracts(Sound):
        def expect(self, block: Block, parameters: MixtureParameters) -> MixtureStatistics:
            sums = super().expect(block, parameters)
            return Odd(**{field.name: getattr(sums, field.name) for field in fields(sums)})

    with pytest.raises(AssertionError):
        laws.statistics_form_a_vector_space(
            replace(CASE, model=Subtracts(Gaussian(Full()), 3, KMeans()))
        )


def test_an_archive_that_loses_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    load = archive.load

    def rounded(url: Any) -> Any:
        found = load(url)
        record: Any = found.record
        if isinstance(record, MixtureParameters):
            record = replace(record, weights=record.weights.astype(np.float32))
        return replace(found, record=record)

    monkeypatch.setattr(archive, "load", rounded)
    with pytest.raises(AssertionError, match="the parameters changed"):
        laws.archives_keep_every_bit(CASE)


def test_every_law_is_broken_above() -> None:
    text = Path(__file__).read_text("utf-8")
    assert [law.__name__ for law in MODEL_LAWS if f"laws.{law.__name__}" not in text] == []
