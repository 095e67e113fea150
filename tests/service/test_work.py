"""What a specification asks for is what the estimators do when they are asked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

import dask_em
from dask_em.errors import ArchiveError, DaskEmError, InputError, SourceError
from dask_em.service.spec import parse
from dask_em.service.work import estimator_of, perform, rehearse, steps_of

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(600, 3)) + 4.0 * rng.integers(0, 3, (600, 1))
    path = tmp_path_factory.mktemp("rows") / "rows.zarr"
    zarr.create_array(path, data=values, chunks=(100, 3))
    return str(path)


def spec(task, url, **more):
    return parse(json.dumps({"task": task, "data": {"url": url}, **more}))


def mixture(url, **more):
    model = {"kind": "gaussian_mixture", "n_components": 3, "random_state": 1}
    return spec("fit", url, model=model, **more)


def test_a_fit(rows):
    stopping = {"algorithm": "em", "max_iter": 7, "tol": 1e-12}
    made = perform(mixture(rows, stopping=stopping, mapping=[{"step": "standardize"}]))
    direct = dask_em.GaussianMixture(3, random_state=1, algorithm="em", max_iter=7, tol=1e-12)
    direct.fit(rows, mapping=[dask_em.Standardize()])
    np.testing.assert_array_equal(made.means_, direct.means_)
    assert made.lower_bounds_ == direct.lower_bounds_


def test_pca(rows):
    made = perform(spec("fit", rows, model={"kind": "ppca", "n_components": 2}))
    direct = dask_em.PPCA(2).fit(rows)
    np.testing.assert_array_equal(made.components_, direct.components_)


def test_a_sweep(rows):
    candidates = {"n_components": [2, 3], "covariance_type": ["diag"], "random_state": 0}
    made = perform(spec("sweep", rows, candidates=candidates))
    direct = dask_em.sweep(rows, [2, 3], covariance_type=["diag"], random_state=0).best
    np.testing.assert_array_equal(made.means_, direct.means_)


def test_a_prediction(rows, tmp_path):
    model = perform(mixture(rows))
    model.save(tmp_path / "model.zarr")
    told = {"model": str(tmp_path / "model.zarr"), "data": {"url": rows}}
    one, other = str(tmp_path / "a.zarr"), str(tmp_path / "b.zarr")
    outputs = {"class": one, "probability": other, "log_likelihood": one}
    assert perform(parse(json.dumps({"task": "predict", "outputs": outputs, **told}))) is None
    np.testing.assert_array_equal(zarr.open(one)["class"][:], model.predict(rows).compute())
    found = zarr.open(other)["probability"][:]
    np.testing.assert_array_equal(found, model.predict_proba(rows).compute())


def test_every_parameter_arrives():
    """Fields that nobody passes on would be promises that nobody keeps."""
    asked = {
        "n_components": 4,
        "covariance_type": "tied",
        "reg_covar": 0.5,
        "n_init": 3,
        "init_params": "random",
        "random_state": 9,
        "degenerate": "drop",
        "missing": "drop",
        "init_sample": 77,
    }
    stopping = {"tol": 0.25, "tol_gap": 0.125, "max_iter": 6, "algorithm": "accelerated"}
    told = spec(
        "fit",
        "/x",
        model={"kind": "gaussian_mixture", **asked},
        stopping=stopping,
        resources={"on_bad_chunk": "skip"},
    )
    found = estimator_of(told).get_params()
    for name, value in {**asked, **stopping, "on_bad_chunk": "skip"}.items():
        assert found[name] == value, name
    asked = {
        "n_components": "bic",
        "solver": "em",
        "rotation": False,
        "random_state": 9,
        "missing": "model",
        "init_sample": 77,
    }
    told = spec("fit", "/x", model={"kind": "ppca", **asked}, stopping=stopping)
    found = estimator_of(told).get_params()
    for name, value in {**asked, **stopping}.items():
        assert found[name] == value, name


def test_every_step_arrives():
    mapping = [
        {"step": "log", "features": ["a"], "offset": 2.0},
        {"step": "standardize", "features": ["a", "b"]},
        {"step": "select", "features": ["b", "a"]},
    ]
    log, standardize, select = steps_of(mixture("/x", mapping=mapping))
    assert log == dask_em.Log(["a"], offset=2.0)
    assert standardize == dask_em.Standardize(["a", "b"])
    assert select == dask_em.Select(["b", "a"])


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"data": {"url": "/nowhere/x"}}, SourceError, "/nowhere/x does not exist"),
        ({"data": {"features": ["a"]}}, DaskEmError, "features"),
        ({"data": {"where": "a > 3"}}, DaskEmError, "where"),
        ({"model": {"n_components": 601}}, DaskEmError, "there are 600 rows for n_components=601"),
        ({"mapping": [{"step": "select", "features": ["a"]}]}, DaskEmError, "a"),
        ({"output": "rows"}, InputError, "something at the output .* already"),
    ],
)
def test_what_cannot_be_is_seen_without_reading(rows, wrong, kind, words):
    told = json.loads(json.dumps({"task": "fit", "data": {"url": rows}}))
    told["model"] = {"kind": "gaussian_mixture", "n_components": 3}
    for name, value in wrong.items():
        told[name] = {**told[name], **value} if isinstance(value, dict) else value
    if told.get("output"):
        told["output"] = rows
    with pytest.raises(kind, match=words):
        rehearse(parse(json.dumps(told)))


def test_what_can_be_is_not_refused(rows, tmp_path):
    rehearse(mixture(rows, mapping=[{"step": "standardize"}], output=str(tmp_path / "m.zarr")))
    rehearse(mixture(rows, output=rows, overwrite=True))
    perform(mixture(rows)).save(tmp_path / "model.zarr")
    told = {"model": str(tmp_path / "model.zarr"), "outputs": {"class": str(tmp_path / "y.zarr")}}
    rehearse(spec("predict", rows, **told))
    with pytest.raises(DaskEmError, match=r"no_model\.zarr"):
        rehearse(spec("predict", rows, **{**told, "model": str(tmp_path / "no_model.zarr")}))


@pytest.fixture(scope="module")
def gaps(rows, tmp_path_factory):
    """Rows of which one has a gap, and of which a chunk cannot be read."""
    values = np.array(zarr.open(rows)[:])
    values[7, 1] = np.nan
    path = tmp_path_factory.mktemp("gaps") / "rows.zarr"
    zarr.create_array(path, data=values, chunks=(100, 3))
    (path / "c" / "2" / "0").write_bytes(b"spoiled")
    return str(path)


def asked_of(model, url, outputs, **more):
    return spec("predict", url, model=str(model), outputs=outputs, **more)


def test_policies_of_a_prediction_are_those_of_the_fit_unless_given(rows, gaps, tmp_path):
    perform(mixture(rows)).save(tmp_path / "model.zarr")
    outputs = {"class": str(tmp_path / "labels.zarr")}
    dropping, skipping = {"missing": "drop"}, {"resources": {"on_bad_chunk": "skip"}}
    for policies, words in ((skipping, "NaN"), (dropping, "chunk c/2/0 cannot be decoded")):
        with pytest.raises(DaskEmError, match=words):
            perform(asked_of(tmp_path / "model.zarr", gaps, outputs, **policies))
    with pytest.warns(UserWarning, match="chunk"):
        perform(asked_of(tmp_path / "model.zarr", gaps, outputs, **dropping, **skipping))
    labels = zarr.open(outputs["class"])["class"][:]
    assert np.flatnonzero(labels < 0).tolist() == [7, *range(200, 300)]


@pytest.mark.parametrize(
    ("outputs", "more", "words"),
    [
        (["score"], {}, "outputs.score: .*GaussianMixture, which gives class, probability, log"),
        (["class"], {"missing": "model"}, "missing"),
        (["class"], {"checkpoint": "rows"}, "rows.zarr is not a checkpoint"),
        (["class"], {"checkpoint": "labels/ck"}, "lies inside the other"),
        (["class"], {"data": {"features": ["a", "b"]}}, "features"),
    ],
)
def test_what_cannot_be_answered_is_seen_without_reading(rows, outputs, more, words, tmp_path):
    perform(mixture(rows)).save(tmp_path / "model.zarr")
    places = {"rows": rows, "labels/ck": str(tmp_path / "y.zarr" / "ck")}
    more = {
        name: places.get(value, value) if name != "data" else value for name, value in more.items()
    }
    more["data"] = {"url": rows, **more.get("data", {})}
    told = {"task": "predict", "model": str(tmp_path / "model.zarr"), **more}
    told["outputs"] = dict.fromkeys(outputs, str(tmp_path / "y.zarr"))
    with pytest.raises(DaskEmError, match=words):
        rehearse(parse(json.dumps(told)))


def test_only_what_fills_gaps_is_asked_to_fill_them(rows, tmp_path):
    perform(spec("fit", rows, model={"kind": "ppca", "n_components": 1})).save(tmp_path / "m.zarr")
    outputs = {"filled": str(tmp_path / "y.zarr")}
    rehearse(asked_of(tmp_path / "m.zarr", rows, outputs))
    with pytest.raises(InputError, match="missing is 'drop', and gaps are to be filled; leave"):
        rehearse(asked_of(tmp_path / "m.zarr", rows, outputs, missing="drop"))
    with pytest.raises(InputError, match="outputs.class: .*PPCA, which gives score, filled"):
        rehearse(asked_of(tmp_path / "m.zarr", rows, {"class": str(tmp_path / "y.zarr")}))


def test_a_checkpoint_that_is_none(rows, tmp_path):
    (tmp_path / "empty").mkdir()
    rehearse(mixture(rows, checkpoint=str(tmp_path / "empty")))
    rehearse(mixture(rows, checkpoint=str(tmp_path / "not_there")))
    with pytest.raises(ArchiveError, match="rows.zarr is not a checkpoint, it holds"):
        rehearse(mixture(rows, checkpoint=rows))
    with pytest.raises(InputError, match="lies inside the other"):
        rehearse(mixture(rows, checkpoint=str(tmp_path / "m/ck"), output=str(tmp_path / "m")))
