"""The command as a whole: quick help, words, exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dask_em.cli.outcome import in_words_of_the_command
from tests.cli.conftest import run

MODELS = ["inspect", "plan", "fit", "sweep", "predict", "transform", "fill", "show", "demo"]
JOBS = [
    "serve",
    "run",
    "submit",
    "jobs",
    "watch",
    "logs",
    "cancel",
    "resume",
    "result",
    "delete",
    "job",
]
COMMANDS = MODELS + JOBS


@pytest.mark.parametrize("command", ["fit", "watch"])
def test_help_imports_nothing_heavy(command: str) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from dask_em.cli.app import app\n"
        f"assert CliRunner().invoke(app, [{command!r}, '--help']).exit_code == 0\n"
        "heavy = ['numpy', 'scipy', 'dask', 'distributed', 'zarr', 'sklearn', 'xarray', 'PIL',\n"
        "         'bokeh', 'tornado']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    words = " ".join(run(command, "--help").stdout.split())
    assert f"Example: dask-em {command}" in words


def test_help_names_the_commands_and_exit_codes() -> None:
    text = run("--help").stdout
    assert all(command in text for command in COMMANDS)
    assert "130 interrupted" in text


def test_version() -> None:
    import dask_em

    assert run("--version").stdout == f"dask-em {dask_em.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "data.zarr", "-k", 3],
        ["fit", "data.zarr", "-k", 0, "--out", "m"],
        ["fit", "data.zarr", "-k", 3, "--out", "m", "--covariance", "round"],
        ["fit", "data.zarr", "-k", 3, "--out", "m", "--workers", 2, "--memory", "much"],
        ["fit", "data.zarr", "-k", 3, "--out", "m", "--workers", 2, "--memory", "0MB"],
        ["fit", "data.zarr", "-k", 3, "--out", "m", "--memory", "1GB"],
        ["fit", "data.zarr", "-k", 3, "--out", "m", "--scheduler", "tcp://a:1", "--workers", 2],
        ["fit", "data.zarr", "-k", 3, "--out", "m", "--features", "a,,b"],
        ["fit", "data.zarr", "--out", "m"],
        ["plan", "data.zarr", "--model", "ppca"],
        ["fill", "m", "data.zarr", "--out", "one", "--missing", "drop"],
        ["inspect", "data.zarr", "--storage-option", "anon"],
        ["nothing"],
    ],
    ids=lambda words: " ".join(str(word) for word in words[2:]) or words[0],
)
def test_wrong_usage(words: list[object], folder: object) -> None:
    result = run(*words, code=2)
    assert not result.stdout
    assert result.stderr


@pytest.mark.parametrize(
    ("library", "command"),
    [
        ('pass missing="drop" to leave', "pass --missing drop to leave"),
        ('pass on_bad_chunk="skip"', "pass --on-bad-chunk skip"),
        ("pass overwrite=True (--overwrite) to", "pass --overwrite to"),
        ("e.g. features=['u', 'v'], and", "e.g. --features u,v, and"),
        ("with sample_dims=[...] which", "with --sample-dims X,Y which"),
        ('set solver="auto", or missing="drop"', "set --solver auto, or --missing drop"),
        ("n_components=9 latent dimensions for", "-q 9 latent dimensions for"),
        ("n_components='bic' is decided by", "-q bic is decided by"),
        ("chunks=(3, 4) stay", "chunks=(3, 4) stay"),
    ],
)
def test_messages_in_the_words_of_the_command(library: str, command: str) -> None:
    assert in_words_of_the_command(library) == command
