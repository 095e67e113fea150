"""What an estimator is given, as a Source; and the features that it remembers of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import validate_data

from dask_em.core.names import nearest
from dask_em.core.records import Array
from dask_em.engine.source import Source
from dask_em.estimators.names import check_count, forget_names, note_features, noted_features
from dask_em.sources.arrays import NumpySource
from dask_em.sources.refusals import refuse_selection
from dask_em.sources.registry import (
    in_memory,
    is_one_array,
    is_table,
    open_source,
    selectable,
)
from dask_em.sources.tabular import has_named_columns, take_columns

if TYPE_CHECKING:
    from dask_em.place import URL, Place

__all__ = ["Selection", "features_kept_on_failure", "open_rows", "remember"]


@dataclass(frozen=True)
class Selection:
    """Which part of a store is meant, and how it is reached."""

    features: Sequence[str] | None = None
    sample_dims: Sequence[str] | None = None
    storage_options: Mapping[str, Any] | None = None
    # what belongs to the rows, and is not remembered
    where: str | None = None
    mapping: Any = None

    @classmethod
    def given(cls, options: Mapping[str, Any]) -> Selection:
        """That of the further arguments of a method."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise TypeError(f"there is no argument {name!r}; {nearest(name, known)}")
        return cls(**options)

    @property
    def remembered(self) -> Selection:
        """Without what belongs to the rows."""
        return replace(self, where=None, mapping=None)

    def or_else(self, other: Selection) -> Selection:
        """What is not said here, as it is said there."""
        return Selection(
            self.features or other.features,
            self.sample_dims or other.sample_dims,
            self.storage_options or other.storage_options,
            self.where,
            self.mapping,
        )

    def meant_for(
        self,
        data: Any,
        names: Sequence[Any] | None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Selection:
        """What of this selection of a fit has a meaning for other data.

        Parameters
        ----------
        names : sequence of str, or None
            The features of the fit.
        storage_options : mapping, optional
            How the other data are reached, where that is said.
        """
        known = None if names is None else [str(name) for name in names]
        if has_named_columns(data):
            # a fit to all columns of a frame is as strict as scikit-learn about those of another
            return Selection(None if self.features is None else known)
        if in_memory(data) or not selectable(data):
            return Selection()
        # a path has no options, so those of a fit behind a URL are not for it
        options = storage_options or (self.storage_options if _protocol(data) else None)
        if is_table(data, options):
            # whatever else a pattern of the fit would find
            return Selection(known or self.features, None, options)
        # a name such as "u[level=500]" is not that of something stored
        plain = known is not None and not any("[" in name for name in known)
        features = self.features or (known if plain else None)
        if features and is_one_array(data, options):
            features = None  # nothing is selected of it by name
        return Selection(features, self._dims_left(data, features), options)

    def _dims_left(self, data: Any, features: Sequence[str] | None = None) -> Sequence[str] | None:
        """The sample dimensions that xarray's data still have, where the others were given up.

        They were if a single label of each is left, as by ``isel(time=0)``, or no variable has a
        dimension that a fit did not know, as after ``mean("time")``. Otherwise all, of which one
        may have another name.
        """
        dims, sizes = self.sample_dims, getattr(data, "sizes", None)
        left = [dim for dim in dims or () if sizes is not None and dim in sizes]
        if dims is None or not left or len(left) == len(dims):
            return dims
        labelled = all(dim in data.coords for dim in dims if dim not in left)
        parts = [data] if features is None else [data[n] for n in features if n in data.variables]
        known = all(set(part.dims) <= set(left) for part in parts)
        return left if labelled or known else dims

    def checkpoint(self, url: URL | Place | None, data: Any) -> URL | Place | None:
        """Where a checkpoint goes; it is reached like the data where it has their protocol."""
        # a path and a Place need no options, or have them
        if (
            not isinstance(url, str)
            or not self.storage_options
            or _protocol(url) != _protocol(data)
        ):
            return url
        from dask_em.place import parse_place  # it brings Zarr along

        return parse_place(url, self.storage_options)


def _protocol(place: Any) -> str:
    if isinstance(place, list | tuple) and place:
        place = place[0]
    return place.partition("://")[0] if isinstance(place, str) and "://" in place else ""


def remember(estimator: Any, **selected: Any) -> None:
    """Note what was selected of a store before an estimator was fitted to it as a Source."""
    estimator._selection = Selection(**selected)


def open_rows(
    estimator: Any,
    data: Any,
    sample_weight: Any,
    selection: Selection,
    *,
    reset: bool,
) -> Source:
    """The source of an estimator's rows, checked against the features of its fit.

    Parameters
    ----------
    estimator : BaseEstimator
        Its ``n_features_in_`` and ``feature_names_in_`` are set with `reset`, checked without.
    selection : Selection
        An error where the data have no parts to select.
    """
    if not in_memory(data):
        source = _opened(data, sample_weight, selection)
        note_features(estimator, source.schema, reset)
        return source
    if has_named_columns(data) and selection.features is not None:
        data = take_columns(data, selection.features)
        selection = replace(selection, features=None)
    refuse_selection(
        data,
        features=selection.features,
        sample_dims=selection.sample_dims,
        storage_options=selection.storage_options,
        where=selection.where,
    )
    values = _in_memory(estimator, data, reset)
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight)
    return NumpySource(values, sample_weight, getattr(estimator, "feature_names_in_", None))


def _opened(data: Any, sample_weight: Any, chosen: Selection) -> Source:
    return open_source(
        data,
        sample_weight=sample_weight,
        features=chosen.features,
        sample_dims=chosen.sample_dims,
        where=chosen.where,
        storage_options=chosen.storage_options,
    )


def _in_memory(estimator: Any, data: Any, reset: bool) -> Array:
    if isinstance(data, np.ma.MaskedArray):  # scikit-learn would drop the mask
        dtype = np.float32 if data.dtype == np.float32 else np.float64
        data = np.ma.filled(data.astype(dtype), np.nan)
    if getattr(data, "ndim", 2) > 2:
        check_count(estimator, np.shape(data)[-1], reset)
        if reset:
            forget_names(estimator)
        return np.asarray(data)
    if reset:
        vars(estimator).pop("feature_units_in_", None)
    values: Array = validate_data(
        estimator,
        data,
        reset=reset,
        dtype=[np.float64, np.float32],
        ensure_all_finite=False,  # the first pass looks, and names the policy
        ensure_min_samples=2 if reset else 1,
    )
    return values


@contextmanager
def features_kept_on_failure(estimator: Any) -> Iterator[None]:
    """A fit that fails leaves an estimator as it was fitted before."""
    before = noted_features(estimator)
    try:
        yield
    except BaseException:
        if hasattr(estimator, "outcome_"):
            for name in noted_features(estimator):
                delattr(estimator, name)
            vars(estimator).update(before)
        raise
