"""Laws that every model obeys, for authors of models and emissions.

A case joins by one line in a list; each law is a function of a case::

    CASES = [ModelCase("mine", MyModel(), rows=lambda n, rng: rng.poisson(3.0, (n, 2)) * 1.0)]

    @pytest.mark.parametrize("law", MODEL_LAWS, ids=lambda law: law.__name__)
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_laws(case, law):
        law(case)
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from dask_em import archive
from dask_em.core.block import Block
from dask_em.core.em import fit
from dask_em.core.model import SupportsPosterior
from dask_em.core.stopping import Stopping
from dask_em.models.mixture import Mixture, MixtureParameters
from dask_em.testing.case import ModelCase, relabelled
from dask_em.testing.closeness import assert_close, assert_number

__all__ = ["MODEL_LAWS", "ModelCase"]

#: how many examples a property is tried on
EXAMPLES = 30
SEEDS = st.integers(0, 2**32 - 1)
#: lengths of blocks, empty ones among them
LENGTHS = st.lists(st.integers(0, 25), min_size=1, max_size=9).filter(any)


def blocks_and_merge_trees_change_nothing(case: ModelCase) -> None:
    """However rows are cut into blocks, in whatever order these are merged: the same sums."""

    @settings(max_examples=EXAMPLES)
    @given(
        seed=SEEDS, lengths=LENGTHS, weighted=st.booleans(), tree=st.randoms(use_true_random=False)
    )
    def holds(seed: int, lengths: list[int], weighted: bool, tree: Any) -> None:
        block = case.drawn(seed, sum(lengths), weighted)
        edges = np.cumsum([0, *lengths])
        parts = [case.expect(block.take(slice(a, b))) for a, b in pairwise(edges)]
        while len(parts) > 1:
            left = parts.pop(tree.randrange(len(parts)))
            right = parts.pop(tree.randrange(len(parts)))
            parts.append(left + right)
        assert_close(parts[0], case.expect(block), 1e-10)

    holds()


def statistics_form_a_vector_space(case: ModelCase) -> None:
    """Sums add, subtract and scale; what was added can be taken away."""

    @settings(max_examples=EXAMPLES)
    @given(seed=SEEDS, factor=st.floats(-4, 4))
    def holds(seed: int, factor: float) -> None:
        block = case.drawn(seed, 40, weighted=True)
        one, other = case.expect(block.take(slice(15))), case.expect(block.take(slice(15, 40)))
        assert_close(one + other - other, one, 1e-10)
        assert_close(one + one, 2.0 * one, 1e-12)
        assert_close((one + other) * factor, factor * one + factor * other, 1e-10)

    holds()


def an_empty_block_is_zero(case: ModelCase) -> None:
    """No rows, with or without weights, add nothing."""
    some = case.expect(case.drawn(0, 30))
    for weighted in (False, True):
        nothing = case.expect(case.drawn(0, 30, weighted).take(slice(0)))
        assert nothing.mass == 0
        assert nothing.log_likelihood == 0
        assert_close(nothing, 0.0 * some, 0.0)
        assert (some + nothing).equals(some), "adding an empty block changed bits"


def an_integer_weight_is_repetition(case: ModelCase) -> None:
    """A row of weight 3 is three rows, one of weight 0 is none."""

    @settings(max_examples=EXAMPLES)
    @given(seed=SEEDS, counts=st.lists(st.integers(0, 3), min_size=30, max_size=60))
    def holds(seed: int, counts: list[int]) -> None:
        if sum(counts) < 20:
            return
        rows = case.drawn(seed, len(counts)).values
        weighted = case.expect(Block(rows, np.array(counts, float)))
        repeated = case.expect(Block(np.repeat(rows, counts, axis=0)))
        assert abs(weighted.mass - sum(counts)) < 1e-9
        assert_number(weighted.log_likelihood, repeated.log_likelihood, 1e-10, "log_likelihood")
        assert_close(case.model.maximize(weighted), case.model.maximize(repeated), 1e-9)
        present = np.array(counts) > 0
        masked = case.expect(Block(rows, present.astype(float)))
        assert_close(masked, case.expect(Block(rows[present])), 1e-10)

    holds()


def the_order_of_rows_changes_nothing(case: ModelCase) -> None:
    """Rows have no order."""

    @settings(max_examples=EXAMPLES)
    @given(seed=SEEDS, weighted=st.booleans())
    def holds(seed: int, weighted: bool) -> None:
        block = case.drawn(seed, 50, weighted)
        shuffled = block.take(default_rng(seed).permutation(50))
        assert_close(case.expect(shuffled), case.expect(block), 1e-10)

    holds()


def the_objective_never_falls(case: ModelCase) -> None:
    """EM ascends, from whatever start, if the model says that it does."""
    if not case.model.monotone:
        return

    @settings(max_examples=EXAMPLES // 3)
    @given(seed=SEEDS, weighted=st.booleans())
    def holds(seed: int, weighted: bool) -> None:
        block = case.drawn(seed, 150, weighted)
        start = case.model.initialize(block, default_rng(seed))
        objectives = fit(case.model, block, start, Stopping(0.0, 12)).objectives
        assert np.isfinite(objectives).all()
        falls = -np.diff(objectives)
        assert falls.max() <= 1e-9 * max(1.0, np.abs(objectives).max()), f"fell by {falls.max()}"

    holds()


def names_of_components_mean_nothing(case: ModelCase) -> None:
    """Components in another order give the same likelihood, and an M-step in that order."""
    if not isinstance(case.parameters, MixtureParameters):
        return
    model, parameters = case.model, case.parameters
    assert isinstance(model, Mixture)

    @settings(max_examples=EXAMPLES)
    @given(seed=SEEDS, order=st.permutations(range(parameters.k)))
    def holds(seed: int, order: list[int]) -> None:
        block = case.drawn(seed, 80)
        there = model.expect(block, relabelled(model, parameters, order))
        here = model.expect(block, parameters)
        assert_number(there.log_likelihood, here.log_likelihood, 1e-11, "log_likelihood")
        assert_close(model.maximize(there), relabelled(model, model.maximize(here), order), 1e-9)

    holds()


def moving_and_scaling_rows_moves_and_scales(case: ModelCase) -> None:
    """Units are a convention: rows ``s x + c`` give the parameters of x in the new units."""
    if case.moved is None:
        return
    moved = case.moved
    # powers of two and whole numbers, on rows of few digits: the data move without rounding
    shifts = st.integers(-(2**14), 2**14)
    scales = st.integers(-8, 8).map(lambda power: 2.0**power)

    @settings(max_examples=EXAMPLES)
    @given(seed=SEEDS, shift=shifts, scale=scales)
    def holds(seed: int, shift: int, scale: float) -> None:
        rows = np.round(case.drawn(seed, 120).values * 2**20) / 2**20
        offset = np.full(rows.shape[1], float(shift)) * scale
        here = case.expect(Block(rows))
        there = case.model.expect(
            Block(rows * scale + offset), moved(case.parameters, offset, scale)
        )
        volume = rows.size * np.log(scale)
        assert_number(there.log_likelihood + volume, here.log_likelihood, 1e-9, "log_likelihood")
        back = moved(case.model.maximize(there), -offset / scale, 1 / scale)
        assert_close(back, moved(case.model.maximize(here), 0 * offset, 1.0), 1e-8)

    holds()


def float32_rows_give_float64_sums(case: ModelCase) -> None:
    """Sums are float64 whatever the rows are, and near those of the same rows in float64."""
    rows = case.drawn(3, 2000).values.astype(np.float32)
    single, double = case.expect(Block(rows)), case.expect(Block(rows.astype(np.float64)))
    for name, values in single.flatten()[1].items():
        assert values.dtype == np.float64, f"{name} is {values.dtype}"
    assert isinstance(single.log_likelihood, float)
    assert_close(single, double, case.single)


def archives_keep_every_bit(case: ModelCase) -> None:
    """Model, parameters and statistics come back from a store as they were."""
    with TemporaryDirectory() as scratch:
        for name, record in case.records().items():
            archive.save(Path(scratch, name), record)
            again = archive.load(Path(scratch, name)).record
            assert again.equals(record), f"the {name} changed"


def pickles_and_tokens_are_stable(case: ModelCase) -> None:
    """A copy on another machine has the same bits and token, and use changes neither."""
    tokens = {}
    for name, record in case.records().items():
        copy = pickle.loads(pickle.dumps(record))
        assert copy.equals(record), f"the pickled {name} differs"
        tokens[name] = tokenize(record, ensure_deterministic=True)
        assert tokenize(copy, ensure_deterministic=True) == tokens[name]
    assert len(set(tokens.values())) == len(tokens)
    fresh = pickle.loads(pickle.dumps(case.parameters))
    case.model.expect(case.drawn(4, 30), fresh)
    assert tokenize(fresh) == tokens["parameters"], "an E-step changed the parameters' token"
    assert tokenize(case.model) == tokens["model"]


def planted_parameters_are_found(case: ModelCase) -> None:
    """A fit explains the rows better than the truth, and new rows hardly worse."""
    if case.planted is None:
        return
    block, unseen, rng = case.drawn(5, 4000), case.drawn(6, 4000), default_rng(5)
    starts = [case.model.initialize(block, rng) for _ in range(case.starts)]
    fits = [fit(case.model, block, start, Stopping(1e-7, 300)) for start in starts]
    best = max(fits, key=lambda found: found.last.objective).parameters
    assert case.objective(block, best) >= case.objective(block, case.planted) - 1e-6
    loss = case.objective(unseen, case.planted) - case.objective(unseen, best)
    assert abs(loss) < 0.02, f"the fit explains new rows {loss} nats per row worse than the truth"


def an_oracle_agrees(case: ModelCase) -> None:
    """An independent implementation finds the same likelihood and the same EM step."""
    block = case.drawn(7, 400, weighted=True)
    if case.log_density is not None:
        expected = case.log_density(block.values, case.parameters)
        found = case.expect(block).log_likelihood
        assert_number(found, float(block.weights @ expected), 1e-11, "log_likelihood")
    if case.step is not None:
        one = case.model.maximize(case.expect(Block(block.values)))
        assert_close(one, case.step(block.values, case.parameters), 1e-9)


def posteriors_agree_with_the_e_step(case: ModelCase) -> None:
    """Row by row: shares that sum to one, and densities that sum to the likelihood."""
    if not isinstance(case.model, SupportsPosterior):
        return
    block = case.drawn(8, 300, weighted=True)
    shares, log_density = case.model.posterior(block, case.parameters)
    assert shares.shape[0] == log_density.shape[0] == len(block)
    assert shares.min() >= 0
    assert np.allclose(shares.sum(axis=1), 1, rtol=0, atol=1e-12)
    found = case.expect(block).log_likelihood
    assert_number(found, float(block.weights @ log_density), 1e-11, "log_likelihood")


MODEL_LAWS: tuple[Callable[[ModelCase], None], ...] = (
    blocks_and_merge_trees_change_nothing,
    statistics_form_a_vector_space,
    an_empty_block_is_zero,
    an_integer_weight_is_repetition,
    the_order_of_rows_changes_nothing,
    the_objective_never_falls,
    names_of_components_mean_nothing,
    moving_and_scaling_rows_moves_and_scales,
    float32_rows_give_float64_sums,
    archives_keep_every_bit,
    pickles_and_tokens_are_stable,
    planted_parameters_are_found,
    an_oracle_agrees,
    posteriors_agree_with_the_e_step,
)
