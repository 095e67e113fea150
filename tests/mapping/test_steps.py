"""Each step: what it does to rows, that it can be undone, and what it makes of names and units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from dask_em import Centre, InputError, Log, Scale, SchemaError, Select, Standardize
from dask_em.core.block import Block
from dask_em.core.moments import FeatureMoments
from dask_em.core.records import Record
from dask_em.mapping.chain import Chain, LocatedChain
from dask_em.mapping.features import Features
from dask_em.mapping.step import MappingStep

ABC = Features(3, ("a", "b", "c"), ("m", None, "degC"))
NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
ROWS = hnp.arrays(np.float64, st.tuples(st.integers(0, 40), st.just(3)), elements=NUMBERS)
AFFINE = [
    Standardize(means=np.array([1.0, -2.0, 300.0]), scales=np.array([2.0, 1.0, 0.1])),
    Centre({"a": 3.5, "c": -1.0}),
    Centre(np.array([1.0, 2.0, 3.0])),
    Scale({"b": -4.0}, {"a": 273.15}),
    Scale(0.1),
]


def located(*steps: MappingStep, features: Features = ABC) -> LocatedChain:
    return Chain(steps).bound(features).located(features, None, "here")


def mapped(rows: Any, *steps: MappingStep) -> np.ndarray:
    return located(*steps).apply(np.asarray(rows))[0]


@pytest.mark.parametrize("step", AFFINE, ids=repr)
@given(rows=ROWS)
def test_undone_is_as_before(step: MappingStep, rows: np.ndarray) -> None:
    chain = located(step)
    there, _ = chain.apply(rows)
    assert_allclose(chain.undo(there), rows, rtol=1e-12, atol=1e-9)


@given(rows=hnp.arrays(np.float64, (20, 3), elements=st.floats(1e-3, 1e6)))
def test_several_are_undone_in_turn(rows: np.ndarray) -> None:
    chain = located(Log(["b"]), Select(["c", "b"]), Centre({"b": 0.5}), Scale({"c": 10.0}))
    there, losses = chain.apply(rows)
    expected = np.stack([rows[:, 2] * 10, np.log(rows[:, 1]) - 0.5], axis=1)
    assert_array_equal(there, expected)
    assert not losses
    assert_allclose(chain.undo(there)[:, 1:], rows[:, 1:], rtol=1e-12)
    assert np.isnan(chain.undo(there)[:, 0]).all()
    assert chain.survivors == (2, 1)


def test_what_each_does() -> None:
    rows = np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0]])
    assert_array_equal(mapped(rows, Centre({"b": 2})), rows - [0, 2, 0])
    assert_array_equal(mapped(rows, Scale({"a": 2}, {"c": 1})), rows * [2, 1, 1] + [0, 0, 1])
    assert_array_equal(mapped(rows, Select(["c", "a"])), rows[:, [2, 0]])
    assert_array_equal(mapped(rows, Select([1])), rows[:, [1]])
    assert_array_equal(mapped(rows, Log(["b"], 1.0))[:, 1], np.log(rows[:, 1] + 1))
    assert_array_equal(mapped(rows, AFFINE[0]), (rows - [1, -2, 300]) / [2, 1, 0.1])


def test_float32_is_rounded_once() -> None:
    rows = (np.random.default_rng(0).normal(size=(30_000, 3)) + 1e4).astype("f4")
    steps = (Centre(np.array([1e4, 1e4, 9999.5])), Scale(1 / 3))
    found = mapped(rows, *steps)
    assert found.dtype == np.float32
    exact = (rows.astype("f8") - [1e4, 1e4, 9999.5]) * (1 / 3)
    assert_array_equal(found, exact.astype("f4"))
    found = mapped(rows, Scale(1 / 3), Centre(np.full(3, 3333.3)))
    assert_array_equal(found, (rows.astype("f8") * (1 / 3) - 3333.3).astype("f4"))


def test_rows_are_not_written_to() -> None:
    rows = np.ones((5, 3))
    rows.flags.writeable = False
    for step in (*AFFINE, Log(["a"]), Select(["b"])):
        there = mapped(rows, step)
        there[:] = 7
    assert (rows == 1).all()


@given(
    rows=hnp.arrays(np.float64, (50, 3), elements=NUMBERS),
    weighted=st.booleans(),
    single=st.booleans(),
)
def test_standardize_is_as_numpy_has_it(rows: np.ndarray, weighted: bool, single: bool) -> None:
    rows = rows.astype("f4").astype("f8") if single else rows
    rows[0], rows[1] = [-3, 5, 1e3], [4, -5, 0]  # none is constant
    weights = np.arange(1.0, 51.0) if weighted else None
    moments = FeatureMoments.of(Block(rows.astype("f4") if single else rows, weights))
    step = Standardize().bound(ABC).fitted(ABC, moments)
    mean = np.average(rows, axis=0, weights=weights)
    spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))
    assert_allclose(mapped(rows, step), (rows - mean) / spread, rtol=1e-9, atol=1e-9)


def test_lists_are_numbers_too() -> None:
    rows = np.arange(6.0).reshape(2, 3)
    given = Standardize(means=[1, -2, 300], scales=[2, 1, 0.1])  # type: ignore[arg-type]
    assert_array_equal(mapped(rows, given), mapped(rows, AFFINE[0]))


def test_standardize_some() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3)) * 3 + 1
    step = Standardize(["b"]).bound(ABC).fitted(ABC, FeatureMoments.of(Block(rows)))
    found = mapped(rows, step)
    assert_array_equal(found[:, [0, 2]], rows[:, [0, 2]])
    assert_allclose([found[:, 1].mean(), found[:, 1].std()], [0, 1], atol=1e-14)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 / 3, -7.0])
def test_what_is_constant_is_not_divided(value: float) -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 3))
    rows[:, 1] = value
    with pytest.warns(UserWarning, match=r"1 of 3 features are constant .* deviation of 0: b;"):
        step = Standardize().fitted(ABC, FeatureMoments.of(Block(rows)))
    assert step.scales is not None
    assert step.scales[1] == 1
    assert_allclose(mapped(rows, step)[:, 1], 0, atol=1e-15 * max(1, abs(value)))


@pytest.mark.parametrize(
    ("step", "names", "units"),
    [
        (AFFINE[0], "abc", ("1", "1", "1")),
        (Standardize(["a"]), "abc", ("1", None, "degC")),
        (Centre({"a": 1.0}), "abc", ("m", None, "degC")),
        (Scale({"a": 0.001}), "abc", (None, None, "degC")),
        (Log(["a", "b"]), "abc", ("log(m)", None, "degC")),
        (Log(["a"], 0.5), "abc", ("log(m + 0.5)", None, "degC")),
        (Select(["c", "a"]), "ca", ("degC", "m")),
    ],
    ids=repr,
)
def test_names_and_units(step: MappingStep, names: str, units: tuple[str | None, ...]) -> None:
    found = step.bound(ABC).after(ABC)
    assert found == Features(len(names), tuple(names), units)
    assert step.bound(ABC).after(Features(3, tuple("abc"))).units is None


def test_steps_by_number_where_nothing_has_a_name() -> None:
    rows = np.array([[1.0, 2.0, 3.0]])
    plain = Features(3)
    for step in (Log([1]), Select([2, 0]), Standardize([0], np.zeros(3), np.ones(3)), Scale(2.0)):
        named = located(step.bound(plain), features=plain).apply(rows)[0]
        assert len(named) == 1
    with pytest.raises(SchemaError, match=r"Log wants the feature 'b', but .* do not know"):
        Log(["b"]).bound(plain)


@pytest.mark.parametrize(
    "step",
    [*AFFINE, Log(["b"], 2.0), Select(["c"]), Standardize(["a"])],
    ids=repr,
)
def test_a_record_comes_back(step: MappingStep) -> None:
    chain = Chain((step,)).bound(ABC)
    tree, arrays = chain.flatten()
    again = Record.unflatten(tree, arrays)
    assert chain.equals(again)
    if not chain.needs_moments:
        rows = np.arange(1.0, 31.0).reshape(10, 3)
        there = located(*chain).apply(rows)[0]
        assert isinstance(again, Chain)
        assert_array_equal(located(*again).apply(rows)[0], there)


def test_log_says_what_it_lost() -> None:
    rows = np.array([[1.0, 0.0, -1.0], [2.0, -3.0, 1.0], [np.nan, np.nan, 2.0]])
    found, losses = located(Log(["a", "b", "c"])).apply(rows)
    assert losses == ["Log has no value for 2 of b, 1 of c, which are not above 0"]
    assert_array_equal(np.isnan(found), [[0, 1, 1], [0, 1, 0], [1, 1, 0]])
    assert located(Log(["b"], 4.0)).apply(rows)[1] == []


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda: Log(["d"]).bound(ABC), "Log wants the feature 'd', which is not there; there are"),
        (
            lambda: Select(["temprature"]).bound(Features(2, ("temperature", "salt"))),
            "did you mean 'temperature'?",
        ),
        (lambda: Select(["a", "a"]).bound(ABC), "names the feature 'a' twice"),
        (lambda: Select([]), "names no feature"),
        (lambda: Select([3]).bound(ABC), "wants feature 3, but there are 0 to 2"),
        (lambda: Scale({"a": 0.0}).bound(ABC), "multiplies a by 0"),
        (lambda: Scale(np.ones(2)).bound(ABC), r"shape \(2,\) for 3 features"),
        (lambda: Scale({"a": np.inf}), "must be finite"),
        (lambda: Centre(np.ones(4)).bound(ABC), r"shape \(4,\) for 3 features"),
        (lambda: Centre({"z": 1.0}).bound(ABC), "Centre wants the feature 'z'"),
        (lambda: Centre({"a": 1.0}, ["a"]), "not both"),
        (lambda: Standardize(["z"]).bound(ABC), "Standardize wants the feature 'z'"),
        (lambda: Standardize(means=np.ones(2), scales=np.ones(2)).bound(ABC), "for 3 features"),
        (lambda: Standardize(means=[0, 0, 0], scales=[1, 0, 1]), "must be above 0"),
        (lambda: Standardize(means=[0, 0, 0]), "both means and scales"),
        (lambda: Standardize(means=np.ones(3), scales=np.ones(2)).bound(ABC), "scales have shape"),
        (lambda: Centre("a"), "Centre are 'a'; give a number for each feature"),
        (lambda: Log(["a"], np.nan), "offset=nan"),
        (lambda: Chain.of(["a"]), "mapping has 'a', which is no step"),
        (lambda: Chain.of("scale"), "mapping has 'scale', which is no step"),
        (lambda: Chain.of(Standardize), "which is no step"),
        (lambda: Chain.of(5), "mapping has 5, which is no step"),
    ],
)
def test_bad_steps(step: Any, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        step()


def test_deviations() -> None:
    some = np.ones((4, 3))
    assert_array_equal(located(AFFINE[0]).undo_deviation(some), some * [2, 1, 0.1])
    assert_array_equal(located(Scale({"a": -4.0})).undo_deviation(some), some / [4, 1, 1])
    assert_array_equal(located(AFFINE[1]).undo_deviation(some), some)
    with pytest.raises(InputError, match="without return_std"):
        located(Log(["a"])).undo_deviation(some)
