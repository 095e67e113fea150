"""One tree; each error is also a builtin one, and travels between processes."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from dask_em import errors

BUILTIN = {
    "InputError": ValueError,
    "SourceError": OSError,
    "ArchiveError": OSError,
    "ClusterError": ConnectionError,
    "StatisticsError": TypeError,
}


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_survive_pickling(name: str) -> None:
    error = getattr(errors, name)("a value, a limit and a remedy")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert isinstance(copy, errors.DaskEmError)


@pytest.mark.parametrize(("name", "kind"), BUILTIN.items())
def test_errors_are_also_builtin(name: str, kind: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), kind)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    found = [error for _, error in inspect.getmembers(errors, inspect.isclass)]
    found = [error for error in found if issubclass(error, errors.DaskEmError)]
    assert sorted(error.__name__ for error in found) == sorted(errors.__all__)
    assert errors.__doc__
    for error in found:
        (line,) = re.findall(rf"(?m)^.*\b{error.__name__}\b.*$", errors.__doc__)
        ancestors = sum(issubclass(base, errors.DaskEmError) for base in error.__mro__)
        assert line.index(error.__name__) == 4 * ancestors, f"{error.__name__} is drawn elsewhere"
