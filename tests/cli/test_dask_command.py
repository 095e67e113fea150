"""`dask em`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dask_em.cli.dask_command import em

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ([], 2, "Usage: dask em"),
        (["-h"], 0, "Usage: dask em"),
        (["fit", "--help"], 0, "Usage: dask em fit"),
        (["show", "nowhere.zarr", "--json"], 1, "there is no model at"),
        (["fit", "data.zarr", "-k", "3"], 2, "--out"),
        (["nothing"], 2, "No such command"),
    ],
)
def test_words_are_handed_on(words: list[str], code: int, expected: str, folder: Path) -> None:
    done = CliRunner().invoke(em, words)
    assert done.exit_code == code, done.output
    assert expected in done.output


def test_dask_finds_it() -> None:
    entries = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["dask_cli"]
    assert entries == {em.name: "dask_em.cli.dask_command:em"}
    assert isinstance(em, click.Command)  # what Dask asks for


def test_dask_imports_nothing_for_it() -> None:
    code = "import sys, dask_em.cli.dask_command; print('typer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
