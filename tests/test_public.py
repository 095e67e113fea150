"""The public names: lazy, complete, documented."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

import dask_em

README = Path(__file__).parent.parent / "README.md"


def test_import_is_light() -> None:
    code = (
        "import sys, dask_em\n"
        "heavy = ['numpy', 'scipy', 'dask', 'distributed', 'zarr', 'sklearn', 'xarray', 'pandas']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", dask_em.__all__)
def test_name_is_what_its_home_calls_so(name: str) -> None:
    value = getattr(dask_em, name)
    if name != "__version__":
        assert value is getattr(import_module(dask_em._HOMES[name]), name)


def test_table_and_all_agree() -> None:
    assert sorted([*dask_em._HOMES, "__version__"]) == sorted(dask_em.__all__)
    assert set(dask_em.__all__) <= set(dir(dask_em))


def test_type_checkers_see_the_same_names() -> None:
    source = Path(dask_em.__file__).read_text(encoding="utf-8")
    checked = source.partition("if TYPE_CHECKING:")[2].partition("\n__all__")[0]
    for name in dask_em.__all__:
        assert re.search(rf"\b{name}\b", checked), name


def test_all_errors_are_public() -> None:
    from dask_em import errors

    assert set(errors.__all__) <= set(dask_em.__all__)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'gaussian_mixtrue'"):
        dask_em.gaussian_mixtrue  # noqa: B018


def test_version_is_that_of_the_installed_package() -> None:
    assert dask_em.__version__ == metadata.version("dask_em")


def test_readme_lists_the_public_names() -> None:
    section = re.search(
        r"^## API\n(.*?)(?=^## |\Z)", README.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert section, "README.md has no section ## API"
    first_cells = re.findall(r"(?m)^\|([^|]*)\|", section[1])
    listed = [name for cell in first_cells for name in re.findall(r"`(\w+)", cell)]
    assert sorted(listed) == sorted(dask_em.__all__)
