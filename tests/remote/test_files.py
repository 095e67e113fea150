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


@pytest.mark.parametrize("url", ["{}", "memory:/{}"])
def test_what_is_gone_need_not_be_removed(url: str, tmp_path: Path) -> None:
    files = open_files(url.format(tmp_path / "folder"))
    files.remove("file")
    files.remove()
    files.make_folder()
    files.write("file", b"")
    files.remove("file")
    assert not files.exists("file")


def test_what_is_removed_in_part_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By somebody else, at the same time."""
    files = open_files(str(tmp_path))
    files.write("file", b"")

    def half(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("another file in the folder (scripted)")

    monkeypatch.setattr("shutil.rmtree", half)
    with pytest.raises(FileNotFoundError, match="scripted"):
        files.remove()
