"""Names and units of features: from the data of a fit to those of a prediction, pair by pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal
from zarr.storage import FsspecStore

import dask_em
from dask_em import PPCA, GaussianMixture, SchemaError, Standardize
from dask_em.sources.arrays import NumpySource
from tests.estimators.common import ROWS
from tests.sources.named import NamedSource

pandas = pytest.importorskip("pandas")
NAMES = ["salt", "heat", "depth"]


def frame(names: list[str] | None = None) -> Any:
    names = names or NAMES
    wide = pandas.DataFrame(ROWS, columns=NAMES).assign(year=2000.0)
    return wide[names]


def group(path: Path, names: list[str] | None = None) -> Path:
    made = zarr.open_group(path / "-".join(names or NAMES), mode="w")
    wide = frame([*NAMES, "year"])
    for name in names or NAMES:
        made.create_array(name, data=wide[name].to_numpy(), chunks=(100,))
    return path / "-".join(names or NAMES)


def array(path: Path) -> Path:
    zarr.create_array(path / "array", data=ROWS, chunks=(100, 3), overwrite=True)
    return path / "array"


UNNAMED = {
    "numpy": lambda _: ROWS,
    "list": lambda _: ROWS.tolist(),
    "nd": lambda _: ROWS.reshape(10, 36, 3),
    "dask": lambda _: da.from_array(ROWS, chunks=(100, 3)),
    "source": lambda _: NumpySource(ROWS),
    "zarr-array": array,
}
NAMED = {
    "frame": lambda _: frame(),
    "group": group,
    "frame-wider": lambda _: frame(["year", *NAMES]),
    "group-wider": lambda at: group(at, [*NAMES, "year"]),
    "frame-turned": lambda _: frame(NAMES[::-1]),
    "group-turned": lambda at: group(at, NAMES[::-1]),
    "source": lambda _: NamedSource(ROWS, ["n"], NAMES),
}
MODEL = GaussianMixture(2, random_state=0, algorithm="em")
LABELS = MODEL.fit(ROWS).predict(ROWS)


def fitted(data: Any, **options: Any) -> GaussianMixture:
    return GaussianMixture(2, random_state=0, algorithm="em").fit(data, **options)


def labels(model: GaussianMixture, data: Any, **options: Any) -> np.ndarray:
    return np.asarray(model.predict(data, **options)).ravel()


@pytest.mark.parametrize("there", UNNAMED)
@pytest.mark.parametrize("here", UNNAMED)
def test_without_names(here: str, there: str, tmp_path: Path) -> None:
    model = fitted(UNNAMED[here](tmp_path))
    assert not hasattr(model, "feature_names_in_")
    assert model.feature_names_ is None
    assert_array_equal(labels(model, UNNAMED[there](tmp_path)), LABELS)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("there", [*UNNAMED, *(f"{name}!" for name in NAMED)])
@pytest.mark.parametrize("here", ["frame", "group", "frame-wider", "group-wider"])
def test_a_selection_is_remembered(here: str, there: str, saved: bool, tmp_path: Path) -> None:
    model = fitted(NAMED[here](tmp_path), features=NAMES)
    assert list(model.feature_names_in_) == NAMES
    assert model.feature_names_ == tuple(NAMES)
    if saved:
        model.save(tmp_path / "model")
        model = dask_em.load(tmp_path / "model")
    # by name where there are names, otherwise as they come
    data = (NAMED[there[:-1]] if there.endswith("!") else UNNAMED[there])(tmp_path)
    assert_array_equal(labels(model, data), LABELS)


def test_options_are_those_of_the_url_that_is_read(tmp_path: Path) -> None:
    path, url = str(tmp_path / "x.zarr"), f"memory://{uuid4().hex}/x.zarr"
    for store in (path, FsspecStore.from_url(url)):
        zarr.create_array(store, data=ROWS)
    model = fitted(url, storage_options={"skip_instance_cache": False})
    for data in (url, path):
        assert_array_equal(labels(model, data), LABELS)


@pytest.mark.parametrize("there", ["frame", "group", "group-wider", "group-turned", "source"])
def test_names_alone_are_enough(there: str, tmp_path: Path) -> None:
    model = fitted(frame())  # nothing was selected
    assert_array_equal(labels(model, NAMED[there](tmp_path)), LABELS)


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("kind", ["frame-wider", "group-wider"])
def test_a_selection_may_be_given_anew(kind: str, tmp_path: Path) -> None:
    data = NAMED[kind](tmp_path)
    model = fitted(ROWS)
    assert_array_equal(labels(model, data, features=NAMES), LABELS)
    assert_array_equal(labels(fitted(data, features=NAMES), data, features=NAMES), LABELS)
    with pytest.raises(ValueError, match="X has 2 features"):
        labels(model, data, features=NAMES[:2])


@pytest.mark.parametrize("kind", UNNAMED)
@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_a_selection_of_what_has_no_names(kind: str, verb: str, tmp_path: Path) -> None:
    data = UNNAMED[kind](tmp_path)
    model: Any = fitted(ROWS)
    with pytest.raises(SchemaError, match="features="):
        getattr(model, verb)(data, features=NAMES)
    if kind != "zarr-array":
        with pytest.raises(SchemaError, match="sample_dims="):
            getattr(model, verb)(data, sample_dims=["n"])


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (["salt", "depth", "heat"], "in another order, salt, depth, heat; the model was fitted to"),
        (["salt", "heat", "year"], "lacks depth and also has year; the model was fitted to salt, "),
        (["salt", "heat"], "lacks depth; the model was fitted to salt, heat, depth; select the"),
        ([*NAMES, "year"], "also has year; the model"),
    ],
)
def test_other_features_are_named(features: list[str], said: str, tmp_path: Path) -> None:
    wide = group(tmp_path, [*NAMES, "year"])
    model = fitted(wide, features=NAMES)
    with pytest.raises(SchemaError, match=said):
        model.predict(wide, features=features)
    # scikit-learn's words
    with pytest.raises(ValueError, match=r"feature names|Feature names"):
        model.predict(frame([*NAMES, "year"]), features=features)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    model = fitted(frame(), features=NAMES)
    with pytest.raises(
        SchemaError, match=r"no column 'depth' in the DataFrame; there are salt, heat, year"
    ):
        model.predict(frame(["salt", "heat", "year"]))
    with pytest.raises(
        SchemaError, match=r"no column 'dept' in the DataFrame; did you mean 'depth'\?"
    ):
        model.predict(frame(), features=["salt", "heat", "dept"])
    with pytest.raises(SchemaError, match="holds no array 'depth'"):
        model.predict(group(tmp_path, ["salt", "heat", "year"]))


def test_units_travel(tmp_path: Path) -> None:
    units = ("g/kg", "degC", None)
    model = PPCA(1).fit(NamedSource(ROWS, ["n"], NAMES, units=units))
    assert model.feature_units_in_ == model.feature_units_ == units
    model.save(tmp_path / "model")
    again = dask_em.load(tmp_path / "model")
    assert again.feature_units_in_ == units
    scored = PPCA(1).fit(
        NamedSource(ROWS, ["n"], NAMES, units=units), mapping=[Standardize(["heat"])]
    )
    assert scored.feature_units_ == ("g/kg", "1", None)
    kelvin = NamedSource(ROWS, ["n"], NAMES, units=("g/kg", "K", "m"))
    with pytest.warns(
        UserWarning, match="other units .*: heat is in 'K' and was in 'degC'"
    ) as said:
        model.score(kelvin)
    assert said[0].filename == __file__
    model.fit(ROWS)
    assert not hasattr(model, "feature_units_in_")
    assert model.feature_units_ is None


def test_a_failed_fit_keeps_them() -> None:
    model = fitted(NamedSource(ROWS, ["n"], NAMES, units=["a", "b", "c"]))
    bad = ROWS.copy()
    bad[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.fit(bad)
    assert list(model.feature_names_in_) == NAMES
    assert model.feature_units_in_ == ("a", "b", "c")


def test_errors_name_features() -> None:
    bad = ROWS.copy()
    bad[3, 1] = np.nan
    for source in (NamedSource(bad, ["n"], NAMES), pandas.DataFrame(bad, columns=NAMES)):
        with pytest.raises(ValueError, match=r"NaN: 1 of 360 rows .*, features heat; pass"):
            fitted(source)
    bad[3, 2] = np.inf
    with pytest.raises(ValueError, match=r"infinity: 1 of 360 rows .*, features depth; mask"):
        fitted(NamedSource(bad, ["n"], NAMES))
    with pytest.raises(ValueError, match=r"infinity: .*, features depth; mask"):
        MODEL_OF_NAMES.predict(NamedSource(bad, ["n"], NAMES))


MODEL_OF_NAMES = fitted(NamedSource(ROWS, ["n"], NAMES))


def test_arguments_that_there_are_not() -> None:
    model = fitted(ROWS)
    with pytest.raises(TypeError, match="no argument 'feature'; did you mean 'features'"):
        model.predict(ROWS, feature=["a"])
