"""xarray end to end: fits, answers, what is written, parameters, the accessor."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from distributed import Client
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError

import dask_em.accessor
from dask_em import PPCA, DataError, GaussianMixture, InputError, SchemaError, Standardize
from tests.estimators.common import assert_same_bits, assert_same_fit
from tests.sources.xarray_cases import (
    AREA,
    CUBE,
    FLAT,
    GRID,
    area,
    chunked,
    computed,
    dataset,
    lazily,
    netcdf,
    stored,
)

FEATURES: dict[str, Any] = {"features": ["t", "s"], "sample_dims": GRID}
SPREAD = np.broadcast_to(AREA[None, :, None], (12, 5, 4))
KINDS = {
    "memory": lambda _: dataset(),
    "lazy": lazily,
    "chunked": chunked,
    "netcdf": netcdf,
    "computed": computed,
}
START = {"weights_init": [0.4, 0.6], "means_init": [[0.0, 0.0, 0.5], [0.5, 0.0, -0.5]]}


def mixture(**options: Any) -> GaussianMixture:
    return GaussianMixture(2, **START, random_state=0, algorithm="em", tol=1e-2, **options)


@pytest.fixture(scope="module")
def by_rows() -> GaussianMixture:
    return mixture().fit(CUBE, sample_weight=SPREAD)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mixture_of_a_dataset_is_that_of_its_rows(
    kind: str, by_rows: GaussianMixture, tmp_path: Path
) -> None:
    ds = KINDS[kind](tmp_path)
    model = mixture().fit(ds, **FEATURES, sample_weight=area(ds))
    assert_same_fit(model, by_rows, 1e-9)
    assert list(model.feature_names_in_) == ["t", "s[lev=10]", "s[lev=500]"]
    labels, shares = model.predict(ds), model.predict_proba(ds)
    densities = model.score_samples(ds)
    assert [one.name for one in (labels, shares, densities)] == [
        "class",
        "probability",
        "log_likelihood",
    ]
    lazy = kind != "memory"
    assert dask.is_dask_collection(labels) == dask.is_dask_collection(shares) == lazy
    assert (labels.values == by_rows.predict(CUBE)).all()
    assert_allclose(shares.values, by_rows.predict_proba(CUBE), rtol=1e-6, atol=1e-12)
    assert_allclose(densities.values, by_rows.score_samples(CUBE), rtol=1e-8)
    for name in ("time", "lat", "lon", "station", "run"):
        assert labels[name].identical(ds[name].reset_coords(drop=True).reindex_like(ds)) or (
            labels[name].equals(ds[name])
        )
    assert model.score(ds, sample_weight=area(ds)) == pytest.approx(
        by_rows.score(CUBE, sample_weight=SPREAD)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_ppca_of_a_dataset_is_that_of_its_rows(kind: str, tmp_path: Path) -> None:
    ds = KINDS[kind](tmp_path)
    model, by_rows = PPCA(1).fit(ds, **FEATURES), PPCA(1).fit(CUBE)
    assert_allclose(model.components_, by_rows.components_, atol=1e-10)
    scores = model.transform(ds)
    assert scores.dims == (*GRID, "component")
    assert_allclose(scores.values, by_rows.transform(CUBE), atol=1e-10)
    found = model.reconstruct(ds)
    assert isinstance(found, xr.Dataset)
    assert list(found.data_vars) == ["t", "s"]
    assert found.s.dims == ds.s.dims
    assert found.t.attrs == ds.t.attrs
    expected = by_rows.reconstruct(CUBE)
    assert_allclose(expected, by_rows.inverse_transform(by_rows.transform(CUBE)), atol=1e-10)
    assert_allclose(found.t.values, expected[..., 0], atol=1e-10)
    assert_allclose(found.s.transpose(*GRID, "lev").values, expected[..., 1:], atol=1e-10)


@pytest.mark.parametrize("opened", [lazily, chunked], ids=["lazy", "chunked"])
def test_a_store_gives_the_bits_of_its_path(opened: Any, tmp_path: Path) -> None:
    path = stored(tmp_path)
    assert_same_bits(
        mixture().fit(opened(tmp_path), **FEATURES), mixture().fit(str(path), **FEATURES)
    )


def test_answers_have_the_chunks_of_the_input(tmp_path: Path) -> None:
    ds = chunked(tmp_path)
    model = mixture().fit(ds, **FEATURES)
    assert model.predict(ds).chunks == ((4, 4, 4), (5,), (2, 2))
    other = lazily(tmp_path).chunk(time=5, lat=2, lon=4)
    assert model.predict(other).chunks == ((5, 5, 2), (2, 2, 1), (4,))


def test_a_lazy_answer_is_one_task_a_chunk() -> None:
    ds = dataset().drop_vars("label").chunk(time=3)
    answers = mixture().fit(ds, **FEATURES).predict(ds)
    assert len([key for key in dict(answers.data.dask) if isinstance(key, tuple)]) == 4


def test_a_mask_of_land_is_left_out(tmp_path: Path) -> None:
    sea = xr.DataArray(CUBE[0, ..., 0] < 1, dims=("lat", "lon"))
    ds = dataset().drop_vars("label").where(sea)
    for data in (ds, ds.chunk(time=4)):
        model = mixture(missing="drop").fit(data, **FEATURES)
        inside = np.broadcast_to(sea.values, (12, 5, 4))
        assert_same_fit(model, mixture().fit(CUBE[inside]), 1e-9)
        labels = model.predict(data)
        assert ((labels == -1).values == ~inside).all()


def test_gaps_are_filled_in_their_variables() -> None:
    ds = dataset()
    gaps = ds.s > 1
    gappy = ds.assign(s=ds.s.where(~gaps))
    model = PPCA(1, missing="model").fit(gappy, **FEATURES)
    filled, deviation = model.fill(gappy, return_std=True)
    assert bool(filled.s.notnull().all())
    assert filled.s.where(~gaps).identical(gappy.s)
    assert ((deviation.s > 0) == gaps).all()
    lazy = model.fill(gappy.chunk(time=5))
    xr.testing.assert_allclose(lazy.compute(), filled)


@pytest.mark.parametrize("kind", ["memory", "lazy", "chunked"])
def test_written_answers_have_the_coordinates_of_the_input(kind: str, tmp_path: Path) -> None:
    ds = KINDS[kind](tmp_path)
    model = mixture().fit(ds, **FEATURES)
    url = tmp_path / "out.zarr"
    model.write_predictions(ds, url, probabilities=url, log_density=url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = xr.open_zarr(url)
    assert set(found.data_vars) == {"class", "probability", "log_likelihood"}
    names = {"time", "lat", "lon", "station", "region", "run"}
    assert set(found.coords) == names | {"component"}
    for name in names:
        assert found[name].equals(ds[name]), name
        assert found[name].attrs == ds[name].attrs
    assert found["class"].dims == GRID
    assert (found["class"].values == model.predict(ds).values).all()


def test_a_sample_dimension_may_be_called_like_an_axis_of_answers(tmp_path: Path) -> None:
    ds = dataset()[["t"]].rename(time="component")
    model = GaussianMixture(2, random_state=0).fit(ds)
    shares, url = model.predict_proba(ds), tmp_path / "out.zarr"
    assert shares.dims == ("component", "lat", "lon", "model_component")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.write_predictions(ds, url, probabilities=url)
        found = xr.open_zarr(url)
    assert found.probability.dims == shares.dims
    assert (found.probability.values == shares.values).all()


def test_filled_rows_and_reconstructions_are_written(tmp_path: Path) -> None:
    ds = chunked(tmp_path)
    model = PPCA(1).fit(ds, **FEATURES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.write_filled(ds, tmp_path / "filled.zarr")
        model.write_scores(ds, tmp_path / "s.zarr", reconstruction=tmp_path / "s.zarr")
        found, filled = xr.open_zarr(tmp_path / "s.zarr"), xr.open_zarr(tmp_path / "filled.zarr")
    assert_allclose(found.reconstruction.values[..., 0], model.reconstruct(ds).t.values)
    assert_allclose(filled.filled.values.reshape(-1, 3), FLAT)


@pytest.mark.parametrize(
    ("features", "cut"),
    [
        (["t"], lambda ds: ds.isel(time=3)),
        (["t"], lambda ds: ds.isel(time=3, drop=True)),
        (["t", "s"], lambda ds: ds.isel(time=3, lat=1)),
        (["t", "s"], lambda ds: ds.chunk(time=5).isel(time=3)),
    ],
    ids=["single", "dropped", "two", "chunked"],
)
def test_sample_dimensions_that_are_given_up_need_no_word(features: Any, cut: Any) -> None:
    ds = dataset()
    model = GaussianMixture(2, random_state=0).fit(ds, features=features, sample_dims=GRID)
    found, expected = model.predict(cut(ds)), cut(model.predict(ds))
    assert found.dims == expected.dims
    assert found.equals(expected)


def test_sample_dimensions_of_an_array_that_are_given_up_need_no_word() -> None:
    array = dataset().s
    model = GaussianMixture(2, random_state=0).fit(array, sample_dims=GRID)
    found = model.predict(array.isel(time=3))
    assert found.equals(model.predict(array).isel(time=3))


def test_sample_dimensions_with_other_names_are_told() -> None:
    ds = dataset()
    model = mixture().fit(ds, **FEATURES)
    with pytest.raises(SchemaError, match="no dimension 'lat'"):
        model.predict(ds.rename(lat="latitude"))
    # a dimension that is not known may be the one that is missed
    with pytest.raises(SchemaError, match="no dimension 'time'"):
        model.predict(ds.isel(time=0, drop=True))


def test_chunks_of_unequal_lengths_are_refused_in_the_words_of_xarray(tmp_path: Path) -> None:
    ds = dataset().drop_vars("label").chunk(time=(1, 10, 1))
    model = mixture().fit(ds, **FEATURES)
    with pytest.raises(SchemaError, match=r"along time .* 1, 10, 1, .*ds\.chunk\(time=10\)"):
        model.write_predictions(ds, tmp_path / "out.zarr")


def test_answers_go_to_a_store_chunk_by_chunk(tmp_path: Path) -> None:
    ds = chunked(tmp_path)
    model = mixture().fit(ds, **FEATURES)
    labels = model.predict(ds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels.to_zarr(tmp_path / "labels.zarr")
        found = xr.open_zarr(tmp_path / "labels.zarr")["class"]
    assert found.identical(labels) or found.equals(labels)


def test_answers_for_a_part_of_the_samples_are_written(tmp_path: Path) -> None:
    ds = chunked(tmp_path).isel(time=slice(3, None), lon=slice(1, 3))
    model = mixture().fit(ds, **FEATURES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.write_predictions(ds, tmp_path / "out.zarr")
        found = xr.open_zarr(tmp_path / "out.zarr")
    assert found.time.equals(ds.time)
    assert (found["class"].values == model.predict(ds).values).all()


def test_an_output_does_not_overwrite_what_is_read(tmp_path: Path) -> None:
    for ds in (lazily(tmp_path), chunked(tmp_path), lazily(tmp_path).isel(time=slice(0, 9, 2))):
        model = mixture().fit(ds, **FEATURES)
        with pytest.raises(InputError, match="is the store that rows are read from"):
            model.write_predictions(ds, tmp_path / "data.zarr" / "out", overwrite=True)


def test_other_features_are_refused() -> None:
    model = mixture().fit(dataset(), **FEATURES)
    with pytest.raises(SchemaError, match="features"):
        model.predict(dataset(), features=["t", "depth"])
    with pytest.raises(SchemaError, match=r"lev=11.*fitted to"):
        model.predict(dataset().assign_coords(lev=[11.0, 500.0]))


def test_a_data_array() -> None:
    array = xr.DataArray(CUBE, dims=(*GRID, "variable"), coords={"variable": ["t", "a", "b"]})
    model = mixture().fit(array)
    assert list(model.feature_names_in_) == ["t", "a", "b"]
    assert model.predict(array).dims == GRID
    again = PPCA(1).fit(array).reconstruct(array)
    assert isinstance(again, xr.DataArray)
    assert again.name is None
    assert again.variable.values.tolist() == ["t", "a", "b"] or again.dims == array.dims


def test_names_that_are_taken(tmp_path: Path) -> None:
    ds = dataset()[["t", "s"]].rename(time="component").assign_coords({"class": ("lon", [1] * 4)})
    model = mixture().fit(ds, features=["t", "s"], sample_dims=("component", "lat", "lon"))
    assert model.predict_proba(ds).dims == ("component", "lat", "lon", "model_component")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.write_predictions(ds, tmp_path / "out.zarr")
        found = xr.open_zarr(tmp_path / "out.zarr")
    assert (found["class"].values == model.predict(ds).values).all()


@pytest.mark.parametrize(
    ("kind", "dims"),
    [
        ("full", ("component", "feature", "other_feature")),
        ("tied", ("feature", "other_feature")),
        ("diag", ("component", "feature")),
        ("spherical", ("component",)),
    ],
)
def test_parameters_of_a_mixture(kind: str, dims: tuple[str, ...]) -> None:
    model = mixture(covariance_type=kind).fit(dataset(), **FEATURES)
    found = model.to_xarray()
    assert found.covariance.dims == dims
    assert_allclose(found.covariance, model.covariances_)
    assert_allclose(found.weight, model.weights_)
    assert_allclose(found["mean"].sel(feature="s[lev=500]"), model.means_[:, 2])
    assert found.variable.values.tolist() == ["t", "s", "s"]
    assert_allclose(found.lev.values, [np.nan, 10, 500])
    assert found.attrs["covariance_type"] == kind


def test_parameters_of_a_ppca(tmp_path: Path) -> None:
    model = PPCA(2).fit(CUBE)
    found = model.to_xarray()
    assert found.feature.values.tolist() == ["0", "1", "2"]
    assert "variable" not in found.coords
    for name, array in [
        ("mean", model.mean_),
        ("axis", model.components_),
        ("loading", model.loadings_),
        ("explained_variance", model.explained_variance_),
        ("explained_variance_ratio", model.explained_variance_ratio_),
        ("noise_variance", model.noise_variance_),
    ]:
        assert_allclose(found[name], array)
    found.to_netcdf(tmp_path / "model.nc", engine="scipy")
    with pytest.raises(NotFittedError):
        PPCA(1).to_xarray()
    with pytest.raises(NotFittedError):
        GaussianMixture(2).to_xarray()


def test_accessor() -> None:
    assert dask_em.accessor.Accessor
    ds = dataset()
    options = {**START, "random_state": 0, "algorithm": "em", "tol": 1e-2}
    model = ds.em.fit_gaussian_mixture(2, **FEATURES, sample_weight=area(ds), **options)
    assert_same_bits(model, mixture().fit(ds, **FEATURES, sample_weight=area(ds)))
    assert ds.em.predict(model).identical(model.predict(ds))
    assert ds.em.predict_proba(model).identical(model.predict_proba(ds))
    assert ds.em.score_samples(model).identical(model.score_samples(ds))
    scaled = ds.em.fit_gaussian_mixture(2, **FEATURES, mapping=[Standardize()], **options)
    assert scaled.mapping_ is not None
    axes = ds.s.em.fit_ppca(1, sample_dims=GRID)
    assert ds.s.em.transform(axes).identical(axes.transform(ds.s))


@pytest.mark.parametrize("kind", ["chunked", "netcdf", "computed"])
def test_on_a_cluster(kind: str, client: Client, tmp_path: Path) -> None:
    ds = KINDS[kind](tmp_path)
    model = mixture().fit(ds, **FEATURES, sample_weight=area(ds))
    here = mixture().fit(dataset(), **FEATURES, sample_weight=area(ds))
    assert_same_fit(model, here, 1e-9)
    assert (model.predict(ds).compute().values == here.predict(dataset()).values).all()


def test_profiles(shared_data: Path) -> None:
    ds = xr.open_zarr(shared_data / "argo_profiles.zarr")
    (dim,) = [dim for dim in ds.temperature.dims if dim != "pressure"]
    levels = ds.sel(pressure=slice(0, 200))
    model = PPCA(3, missing="drop").fit(
        levels, features=["temperature", "salinity"], sample_dims=[dim]
    )
    scores = model.transform(levels)
    assert scores.dims == (dim, "component")
    assert scores.sizes[dim] == ds.sizes[dim]
    assert model.to_xarray().pressure.max() <= 200


def test_a_pole_that_weighs_less_than_nothing_weighs_nothing() -> None:
    ds = dataset().assign_coords(lat=np.linspace(-90, 90, 5, dtype="f4"))
    area = np.cos(np.deg2rad(ds.lat))
    assert area.min() < 0
    found = mixture().fit(ds, **FEATURES, sample_weight=area)
    clipped = mixture().fit(ds, **FEATURES, sample_weight=area.clip(min=0))
    np.testing.assert_array_equal(found.means_, clipped.means_)
    with pytest.raises(DataError, match="negative"):
        mixture().fit(ds, **FEATURES, sample_weight=area - 0.1)


def test_regimes(shared_data: Path) -> None:
    ds = xr.open_zarr(shared_data / "era_interim_uvz.zarr")
    name = next(iter(ds.data_vars))
    dims = ds[name].dims
    weights = np.cos(np.deg2rad(ds[next(dim for dim in dims if str(dim).startswith("lat"))])).clip(
        min=0
    )
    model = GaussianMixture(3, random_state=0, missing="drop", max_iter=3, tol=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(ds, features=list(ds.data_vars), sample_dims=dims, sample_weight=weights)
    assert model.predict(ds).dims == dims


def test_lazy_latent_variables_stay_lazy(tmp_path: Path) -> None:
    ds = chunked(tmp_path / "x.zarr")
    model = PPCA(1).fit(ds, **FEATURES)
    scores = model.transform(ds)
    rows = model.inverse_transform(scores)
    assert hasattr(rows, "dask")
    assert_allclose(rows.compute(), model.inverse_transform(scores.values), rtol=1e-12)
