"""Files in folders."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from dask_em.remote.files import open_files


@pytest.mark.skipif(os.name == "nt", reason="Windows opens no directories")
def test_what_is_written_survives_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are on the disk before the name, and the name before anybody is told."""
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flushed(handle: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "bytes")
        fsync(handle)

    def renamed(*paths: Any) -> None:
        steps.append("name")
        replace(*paths)

    monkeypatch.setattr("os.fsync", flushed)
    monkeypatch.setattr("os.replace", renamed)
    open_files(str(tmp_path)).write("told.json", b"{}")
    assert steps == ["bytes", "name", "folder"]
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]
