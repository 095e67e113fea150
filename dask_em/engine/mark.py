"""Mark: the file that makes a folder a checkpoint, and says whose it is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from dask_em.engine.fingerprint import Facts, differences
from dask_em.errors import ArchiveError
from dask_em.place import Place

__all__ = ["ANEW", "MARK", "ROOM", "Mark", "is_left"]

#: the name of the file
MARK = "checkpoint.json"

ANEW = "give a path where nothing is"
ROOM = f"free some space, check your permissions, or {ANEW}"


@dataclass(frozen=True)
class Mark:
    """How checkpoints of one kind are marked.

    Parameters
    ----------
    format : str
        Their kind.
    version : list of int
        Raised whenever an older dask_em could not go on with what a newer one wrote.
    work : str
        What they are of, in words.
    same : str
        What has to be the same when it goes on, in words.
    """

    format: str
    version: list[int]
    work: str
    same: str

    def find(self, place: Place, wanted: Facts | None) -> dict[str, Any] | None:
        """What the mark at a place tells; None where nothing is, or an empty folder.

        Parameters
        ----------
        place : Place
        wanted : mapping, or None
            The specification of the work; None as long as it is not known.

        Raises
        ------
        ArchiveError
            If the folder holds something else, the checkpoint of other work or of another version.
        """
        if not self._is_there(place):
            return None
        found: dict[str, Any] = json.loads(place.files().read(MARK))
        self._check(place, found, wanted)
        return found

    def write(self, place: Place, wanted: Facts | None, **told: Any) -> None:
        """Mark a folder, which is made where it is not there, and say more."""
        mark = {"format": self.format, "version": self.version, "specification": wanted, **told}
        files = place.files()
        files.make_folder()
        files.write(MARK, json.dumps(mark, indent=1).encode())

    def check_same(self, place: Place, there: Facts | None, here: Facts | None) -> None:
        """Refuse the checkpoint of other work, as far as specifications are known.

        Raises
        ------
        ArchiveError
            Which names what differs.
        """
        if there is None or here is None:
            return
        found = differences(there, here, "there", "here")
        if found:
            raise ArchiveError(
                f"the checkpoint {place} is that of another {self.work}: {found}; go on with the "
                f"same {self.same}, or {ANEW}"
            )

    def _is_there(self, place: Place) -> bool:
        files = place.files()
        if not files.exists():
            return False
        if not files.is_folder():
            raise ArchiveError(f"{place} is a file, not a checkpoint; {ANEW}")
        names = files.names()
        others = [name for name in names if not name.startswith(".")]
        if MARK not in names and others:
            raise ArchiveError(
                f"{place} is not a checkpoint, it holds {', '.join(others[:3])}"
                f"{' and more' if len(others) > 3 else ''}; {ANEW}, or an empty folder"
            )
        return MARK in names

    def _check(self, place: Place, mark: Any, wanted: Facts | None) -> None:
        version = mark["version"] if mark.get("format") == self.format else None
        if not isinstance(version, list):
            raise ArchiveError(f"{place} is not a checkpoint of a {self.work}; {ANEW}")
        if version != self.version:
            raise ArchiveError(self._of_another_version(place, version))
        self.check_same(place, mark["specification"], wanted)

    def _of_another_version(self, place: Place, version: list[int]) -> str:
        theirs, mine = (".".join(map(str, one)) for one in (version, self.version))
        if version > self.version:
            return (
                f"the checkpoint {place} was written by a newer dask_em, in version {theirs}, and "
                f"this one reads up to {mine}; upgrade dask_em, or {ANEW}"
            )
        return (
            f"the checkpoint {place} was written by an older dask_em, in version {theirs}, and "
            f"this one goes on from {mine} only; go on with that dask_em, or {ANEW}"
        )


def is_left(name: str, of: str) -> bool:
    """Whether a file is what a process that was killed left of one whose name matches `of`."""
    return re.fullmatch(rf"\.({of})\..*\.tmp", name) is not None
