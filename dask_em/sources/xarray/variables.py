"""Variables: which of a dataset make up a row, and which dimensions tell rows apart."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dask_em.core.names import abridged, nearest
from dask_em.errors import SchemaError
from dask_em.sources.rows import row_dtype

__all__ = ["Chosen", "check_aligned", "choose", "known"]


@dataclass(frozen=True)
class Chosen:
    """What makes up a row.

    Parameters
    ----------
    names : tuple
        Of the variables, in order.
    sample_dims : tuple of str
        Dimensions that tell rows apart, in the order of the axes of answers.
    """

    names: tuple[Any, ...]
    sample_dims: tuple[Any, ...]


def choose(
    dataset: Any, features: Sequence[str] | None, sample_dims: Sequence[str] | None, where: str
) -> Chosen:
    """The variables and sample dimensions that are meant.

    Parameters
    ----------
    dataset : xarray.Dataset
    features : sequence of str, optional
        By default all numeric data variables that have all sample dimensions.
    sample_dims : sequence of str, optional
        By default those that the variables have, if all have the same.
    where : str
        The dataset, in words.

    Raises
    ------
    SchemaError
        If names are unknown, or nothing can be chosen for the user; nearest names are offered.
    """
    dims = None if sample_dims is None else _dims(dataset, sample_dims, where)
    names = _all(dataset, dims, where) if features is None else _named(dataset, features, where)
    chosen = Chosen(tuple(names), _shared(dataset, names, where) if dims is None else dims)
    for name in chosen.names:
        _check(dataset.variables[name], name, chosen.sample_dims, where)
    _check_all_there(dataset, chosen)
    return chosen


def known(name: Any, names: Iterable[Hashable], kind: str, where: str) -> Any:
    """A name that is there.

    Raises
    ------
    SchemaError
        Which offers those that are like it.
    """
    found = list(names)
    if name in found:
        return name
    near = nearest(str(name), [str(one) for one in found])
    raise SchemaError(f"{where} has no {kind} {name!r}; {near}")


def check_aligned(weights: Any, dataset: Any, dims: Sequence[Any], where: str) -> None:
    """Refuse weights that lie elsewhere than the rows.

    Raises
    ------
    SchemaError
        With the dimension and the first label that differs.
    """
    extra = [dim for dim in weights.dims if dim not in dims]
    if extra:
        raise SchemaError(
            f"sample_weight has the dimensions {_list(weights.dims)}, of which {_list(extra)} are "
            f"no sample dimensions ({_list(dims)}); select along them, or take a mean"
        )
    for dim in weights.dims:
        length, wanted = weights.sizes[dim], dataset.sizes[dim]
        if length != wanted:
            raise SchemaError(
                f"sample_weight has length {length} along {dim}, {where} has {wanted}; select the "
                "same part of both"
            )
        _check_labels(weights.indexes.get(dim), dataset.indexes.get(dim), dim, where)


def _check_labels(found: Any, wanted: Any, dim: Any, where: str) -> None:
    if found is None or wanted is None or found.equals(wanted):
        return
    place = next(
        (i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b and a == a), 0
    )
    raise SchemaError(
        f"sample_weight and {where} have other labels along {dim}: {found[place]} and "
        f"{wanted[place]} at position {place}; align them first, e.g. with reindex_like(..., "
        'method="nearest")'
    )


def _dims(dataset: Any, sample_dims: Sequence[str], where: str) -> tuple[Any, ...]:
    if not sample_dims:
        raise SchemaError("sample_dims is empty; name the dimensions that tell rows apart")
    if len(set(sample_dims)) < len(sample_dims):
        raise SchemaError(f"sample_dims={list(sample_dims)} names a dimension twice; name it once")
    for dim in sample_dims:
        if dim not in dataset.sizes and dim in dataset.coords:
            raise SchemaError(
                f"{where} has no dimension {dim!r}, but a single {dim}: leave it out of "
                f"sample_dims, or keep the dimension, e.g. with isel({dim}=[0])"
            )
    return tuple(known(dim, dataset.sizes, "dimension", where) for dim in sample_dims)


def _named(dataset: Any, features: Sequence[str], where: str) -> list[Any]:
    if not features:
        raise SchemaError("features is empty; name one variable or more")
    if len(set(features)) < len(features):
        raise SchemaError(f"features={list(features)} names a variable twice; name it once")
    return [known(name, dataset.variables, "variable", where) for name in features]


def _all(dataset: Any, dims: Sequence[Any] | None, where: str) -> list[Any]:
    """All numeric data variables, if they agree in what a sample is."""
    numeric = [name for name, one in dataset.data_vars.items() if one.dtype.kind in "biuf"]
    if dims is not None:
        numeric = [name for name in numeric if set(dims) <= set(dataset[name].dims)]
    elif len({frozenset(dataset[name].dims) for name in numeric}) > 1:
        raise SchemaError(
            f"{where} has variables with different dimensions: {_told(dataset, numeric)}; say "
            f"which make up a row, e.g. features={_likely(dataset, numeric)}, and with "
            "sample_dims=[...] which dimensions tell rows apart"
        )
    if not numeric:
        having = "" if dims is None else f" with the dimensions {_list(dims)}"
        raise SchemaError(
            f"{where} has no numeric data variable{having}: "
            f"{_told(dataset, dataset.data_vars) or 'there are none'}; name some with features=[]"
        )
    return numeric


def _shared(dataset: Any, names: Sequence[Any], where: str) -> tuple[Any, ...]:
    """The dimensions of variables that all have the same."""
    first, *others = names
    dims = tuple(dataset.variables[first].dims)
    for name in others:
        if set(dataset.variables[name].dims) != set(dims):
            common = [dim for dim in dims if dim in dataset.variables[name].dims] or list(dims)
            raise SchemaError(
                f"variables of {where} have different dimensions: {_told(dataset, names)}; say "
                f"which of them tell rows apart, e.g. sample_dims={common}, the others become "
                "features"
            )
    return dims


def _check(variable: Any, name: Any, dims: Sequence[Any], where: str) -> None:
    row_dtype(variable.dtype, f"variable {name}")
    if not variable.dims:
        raise SchemaError(
            f"variable {name} of {where} is a single number; every row would have the same: leave "
            "it out"
        )
    if not set(variable.dims) & set(dims):
        raise SchemaError(
            f"variable {name} of {where} has the dimensions {_list(variable.dims)} and none of "
            f"sample_dims={list(dims)}: every row would have the same values; leave it out, or "
            "name other sample_dims"
        )
    empty = [dim for dim in variable.dims if dim not in dims and variable.sizes[dim] == 0]
    if empty:
        raise SchemaError(
            f"variable {name} of {where} has 0 feature(s) along {empty[0]} while a minimum of 1 is "
            "required"
        )


def _check_all_there(dataset: Any, chosen: Chosen) -> None:
    for dim in chosen.sample_dims:
        if not any(dim in dataset.variables[name].dims for name in chosen.names):
            raise SchemaError(
                f"no variable of features={list(chosen.names)} has the dimension {dim} of "
                f"sample_dims: {_told(dataset, chosen.names)}; leave {dim} out, or repeat "
                "one along it, with broadcast_like, if that is meant"
            )


def _likely(dataset: Any, names: Sequence[Any]) -> list[Any]:
    """Variables that agree with the one of the most dimensions."""
    first = max(names, key=lambda name: len(dataset[name].dims))
    return [name for name in names if set(dataset[name].dims) == set(dataset[first].dims)][:3]


def _told(dataset: Any, names: Iterable[Any]) -> str:
    shown = [f"{name} ({_list(dataset.variables[name].dims)})" for name in names]
    return abridged(shown, 8)


def _list(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names)
