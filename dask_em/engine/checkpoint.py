"""Checkpoint: a folder that holds all that the next pass of a fit depends on.

::

    checkpoint.json        whose fit it is: the format's version and the specification
    sample-000000131072/   the sample, under its number of rows
    start-0-pass-000007/   where the first start stands after its seventh pass

The sample is kept, not drawn again: that would cost a reading of all rows, and it is at most some
96 MB. One that grew begins with the rows that it had, so that a fit that was killed meanwhile goes
on with those. What is new is written beside what is there and what is old is removed after, so that
there is something whole at every moment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dask_em import archive
from dask_em.core.block import Block
from dask_em.core.records import Array, Record
from dask_em.engine.fingerprint import Facts, differences
from dask_em.engine.monitor import PassRecord
from dask_em.engine.packed import Packed
from dask_em.errors import ArchiveError
from dask_em.place import URL, LocalPlace, Options, Place, RemotePlace, parse_place
from dask_em.remote.files import Files, open_files

__all__ = ["Checkpoint", "KeptSample", "KeptStart"]

#: raised whenever an older dask_em could not go on with what a newer one wrote
VERSION = 2
#: the file that makes a folder a checkpoint
MARK = "checkpoint.json"
FORMAT = "dask_em checkpoint"

ANEW = "give a path where nothing is"
ROOM = f"free some space, check your permissions, or {ANEW}"


@dataclass(frozen=True)
class KeptSample(Record):
    """The sample of a first pass."""

    rows: Array  # (m, d)
    weights: Array | None  # (m,)
    complete: bool  # whether it is all rows
    record: PassRecord  # of the first pass

    @property
    def block(self) -> Block:
        return Block(self.rows, self.weights)


@dataclass(frozen=True)
class KeptStart(Record):
    """Where one start stands."""

    progress: Any
    reseeds: int  # how often components were moved
    state: str  # JSON of the generator's state after the start was made

    @property
    def chance(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state)
        return found


class Checkpoint:
    """What a fit keeps of itself. Made by `open`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._url = str(place.path) if isinstance(place, LocalPlace) else _remote(place).url
        self._options = None if isinstance(place, LocalPlace) else _remote(place).options

    @classmethod
    def open(cls, url: URL | Place, wanted: Facts) -> Checkpoint:
        """The checkpoint at a place, made if there is none.

        Parameters
        ----------
        url : str, path or Place
            Of a folder, local or of any file system that fsspec opens.
        wanted : mapping
            The specification of the fit, see `engine.specification`.

        Raises
        ------
        ArchiveError
            If the folder holds something else, the checkpoint of another fit or of a newer
            dask_em, or cannot be written.
        """
        made = cls(url if isinstance(url, Place) else parse_place(url))
        with made._place.explain("used as a checkpoint", ROOM):
            if made._is_there():
                made._check(wanted)
            made._mark(wanted)  # also where it is there: a folder that cannot be written is found
            made._clear()
        return made

    def sample(self) -> KeptSample | None:
        """The largest sample, if one was drawn."""
        for name in reversed(self._samples()):
            found = self._loaded(name)
            if found is not None:
                assert isinstance(found, KeptSample)
                return found
        return None

    def keep_sample(self, sample: Block, complete: bool, record: PassRecord) -> None:
        kept = KeptSample(sample.values, sample.weights, complete, record)
        self._replace(self._samples(), f"sample-{len(sample):012d}", kept)

    def start(self, number: int) -> KeptStart | None:
        """Where a start stands, if it had begun."""
        for name in reversed(self._passes(number)):
            found = self._loaded(name)
            if found is not None:
                assert isinstance(found, Packed)
                return _unpacked(found)
        return None

    def keep(self, number: int, progress: Any, reseeds: int, chance: Mapping[str, Any]) -> Record:
        """Write where a start stands; return its progress as it will be read."""
        state = json.dumps(chance, default=_listed)
        packed = Packed.of(KeptStart(progress, reseeds, state))
        name = f"start-{number}-pass-{progress.n_passes:06d}"
        self._replace(self._passes(number), name, packed)
        found: Record = _unpacked(packed).progress
        return found

    def _is_there(self) -> bool:
        """Whether the place is a checkpoint; it is not, where nothing is."""
        files = self._files()
        if not files.exists():
            return False
        if not files.is_folder():
            raise ArchiveError(f"{self._place} is a file, not a checkpoint; {ANEW}")
        names = self._names()
        others = [name for name in names if not name.startswith(".")]
        if MARK not in names and others:
            raise ArchiveError(
                f"{self._place} is not a checkpoint, it holds {', '.join(others[:3])}"
                f"{' and more' if len(others) > 3 else ''}; {ANEW}, or an empty folder"
            )
        return MARK in names

    def _check(self, wanted: Facts) -> None:
        mark = json.loads(self._files().read(MARK))
        version = mark["version"] if mark.get("format") == FORMAT else None
        if not isinstance(version, list):
            raise ArchiveError(f"{self._place} is not a checkpoint; {ANEW}")
        if version > _version():
            raise ArchiveError(
                f"the checkpoint {self._place} was written by a newer dask_em, in version "
                f"{_dotted(version)}, and this one reads up to {_dotted(_version())}; upgrade "
                f"dask_em, or {ANEW}"
            )
        if version < _version():
            raise ArchiveError(
                f"the checkpoint {self._place} was written by an older dask_em, in version "
                f"{_dotted(version)}, and this one goes on from {_dotted(_version())} only; go on "
                f"with that dask_em, or {ANEW}"
            )
        found = differences(mark["specification"], wanted, "there", "here")
        if found:
            raise ArchiveError(
                f"the checkpoint {self._place} is that of another fit: {found}; go on with the "
                f"same rows and options, or {ANEW}"
            )

    def _mark(self, wanted: Facts) -> None:
        mark = {"format": FORMAT, "version": _version(), "specification": wanted}
        data = json.dumps(mark, indent=1).encode()
        self._files().write(MARK, data)

    def _clear(self) -> None:
        """Remove what a killed process left unfinished."""
        for name in self._names():
            if re.fullmatch(r"\.(checkpoint|sample-\d+|start-\d+-pass-\d+)\..*\.tmp", name):
                self._remove(name)

    def _loaded(self, name: str) -> Record | None:
        if name not in self._names():
            return None
        url = self._inside(name)
        if not isinstance(self._place, LocalPlace) and not _is_whole(url, self._options):
            return None
        return archive.load(url, self._options).record

    def _replace(self, olds: list[str], name: str, record: Record) -> None:
        if name in olds:
            self._remove(name)  # nobody could go on with it, or it would have been read
        archive.save(self._inside(name), record, storage_options=self._options)
        with suppress(OSError):  # what is old does no harm
            for old in olds:
                if old != name:
                    self._remove(old)

    def _samples(self) -> list[str]:
        """The samples that are kept, smallest first."""
        return sorted(name for name in self._names() if name.startswith("sample-"))

    def _passes(self, number: int) -> list[str]:
        """What is kept of a start, oldest first."""
        return sorted(name for name in self._names() if name.startswith(f"start-{number}-pass-"))

    def _names(self) -> list[str]:
        return self._files().names()

    def _remove(self, name: str) -> None:
        self._files().remove(name)

    def _inside(self, name: str) -> str:
        return f"{self._url}/{name}"

    def _files(self) -> Files:
        return open_files(self._url, self._options)


def _is_whole(url: str, options: Options) -> bool:
    """Whether a record was written to its end: where nothing is renamed, it may have been killed.

    Raises
    ------
    ArchiveError
        If that cannot be told.
    """
    try:
        archive.inspect(url, options)
    except ArchiveError as error:
        if error.__cause__ is None or isinstance(error.__cause__, FileNotFoundError):
            return False
        raise
    return True


def _unpacked(packed: Packed) -> KeptStart:
    found = packed.unpacked()
    assert isinstance(found, KeptStart)
    return found


def _version() -> list[int]:
    return [VERSION, archive.FORMAT_VERSION]


def _dotted(version: list[int]) -> str:
    return ".".join(map(str, version))


def _remote(place: Place) -> RemotePlace:
    assert isinstance(place, RemotePlace)
    return place


def _listed(value: Any) -> Any:
    return value.tolist()
