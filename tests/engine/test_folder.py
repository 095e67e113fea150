"""Records in folders."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dask_em.engine.folder import Folder
from dask_em.engine.packed import Packed
from dask_em.place import parse_place


def test_what_is_ahead_or_needed_stays(tmp_path: Path) -> None:
    """A process that was thought dead does not remove what the one after it has written."""
    folder, one = Folder(parse_place(tmp_path)), Packed("{}", "{}", np.empty(0, np.uint8))
    for number in (1, 2, 5):
        folder.replace([], f"pass-{number}", one)
    folder.replace(sorted(folder.names()), "pass-3", one, {"pass-2", "pass-3"})
    assert sorted(os.listdir(tmp_path)) == ["pass-2", "pass-3", "pass-5"]
