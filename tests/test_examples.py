"""Every example runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
DATA = FOLDER.parents[1] / "shared" / "data"
#: examples of data that are not here everywhere: which, and the arguments of a small cut
CUTS = {
    "airport_weather": ("nyc_weather.parquet", ".", "--every", "4"),
    "argo_profiles": ("argo_profiles.zarr", "argo_profiles.png", "--every", "40"),
    "era_regimes": ("era_interim_uvz.zarr", "era_regimes.png", "--cell", "8"),
    "era_interim": ("era_interim_uvz.zarr", "era_interim.png", "--cell", "24"),
}


@pytest.mark.parametrize("example", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_example(example: Path, tmp_path: Path) -> None:
    arguments = arguments_of(example)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(example), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    for picture in (one for one in arguments if one.endswith(".png")):
        assert (tmp_path / picture).stat().st_size > 10_000


def arguments_of(example: Path) -> list[str]:
    """The arguments of a small cut; without its data the test is skipped."""
    if example.stem not in CUTS:
        return []
    store, *options = CUTS[example.stem]
    if not (DATA / store).exists():
        pytest.skip(f"there is no {store} at {DATA}")
    return [str(DATA / store), *options]
