"""Stores for the commands, and two ways to run one: in this process and in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from dask_em.cli.app import app

CENTRES = np.array([[-6.0, 0.0, 3.0], [0.0, 6.0, -3.0], [6.0, -6.0, 0.0]])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the working directory of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store(folder: Path) -> str:
    """A Zarr array of three clusters, 300 rows of 3 features for each of 40 times."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 300, 3)) + CENTRES[rng.integers(0, 3, size=(40, 300))]
    zarr.create_array(folder / "data.zarr", data=values, chunks=(1, 300, 3))
    return "data.zarr"


@pytest.fixture
def large(folder: Path) -> str:
    """As `store`, in four chunks of 9 MB: too large to be read together."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, size=1_600_000)
    values = (rng.normal(size=(1_600_000, 3)) + CENTRES[kinds]).astype("f4")
    zarr.create_array(
        folder / "large.zarr", data=np.tile(values, 2), chunks=(400_000, 6), compressors=None
    )
    return "large.zarr"


@pytest.fixture
def fields(folder: Path) -> str:
    """A group with u and v on (time, y, x), NaN in one time of u."""
    rng = np.random.default_rng(0)
    group = zarr.create_group(folder / "fields.zarr")
    for name in ("u", "v"):
        values = rng.normal(size=(6, 20, 10))
        values[2] = np.nan if name == "u" else values[2]
        group.create_array(
            name, data=values, chunks=(1, 20, 10), dimension_names=("time", "y", "x")
        )
    return "fields.zarr"


@pytest.fixture
def gaps(folder: Path) -> str:
    """Two latent dimensions in 6 features of 40 x 100 rows, 2 of 10 values missing, 40 rows all."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(2, 6)) * [[3.0], [1.5]]
    values = rng.normal(size=(40, 100, 2)) @ loadings + 0.4 * rng.normal(size=(40, 100, 6)) + 10
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 0] = np.nan
    zarr.create_array(folder / "gaps.zarr", data=values, chunks=(1, 100, 6))
    return "gaps.zarr"


@pytest.fixture
def latent(gaps: str) -> str:
    """A PPCA of the rows with gaps."""
    words = ["--model", "ppca", "-q", 2, "--missing", "model", "--seed", 0]
    run("fit", gaps, *words, "--out", "latent.zarr")
    return "latent.zarr"


@pytest.fixture
def model(store: str) -> str:
    """A model of the store."""
    run("fit", store, "-k", 3, "--out", "model.zarr", "--seed", 0)
    return "model.zarr"


def run(*words: Any, code: int = 0) -> Any:
    """Run a command in this process; the result has stdout and stderr."""
    result = CliRunner().invoke(app, [str(word) for word in words], prog_name="dask-em")
    assert result.exit_code == code, result.output
    return result


def spawn(*words: Any, **options: Any) -> subprocess.Popen[str]:
    """Start a command in a process of its own, and in a group of its own, as a shell does."""
    return subprocess.Popen(
        [sys.executable, "-m", "dask_em.cli", *(str(word) for word in words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """What a command said on stdout and stderr."""
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    return stdout, stderr


def limit_files(nbytes: int) -> Callable[[], None]:
    """For `preexec_fn`: a write beyond so many bytes of a file fails, as on a full disk."""

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes))

    return limit
