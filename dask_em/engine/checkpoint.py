"""Checkpoint: a folder that holds all that the next pass of a fit depends on.

::

    checkpoint.json        whose fit it is: the format's version and the specification
    moments-0/             what the first pass for the mapping told of the features
    sample-000000131072/   the sample, under its number of rows
    start-0-pass-000007/   where the first start stands after its seventh pass
    pass-000007/           of many fits: where those stand that took part in the seventh pass

The sample is kept, not drawn again: that would cost a reading of all rows, and it is at most some
96 MB. One that grew begins with the rows that it had, so that a fit that was killed meanwhile goes
on with those.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dask_em import archive
from dask_em.core.block import Block
from dask_em.core.moments import FeatureMoments
from dask_em.core.records import Record
from dask_em.engine.fingerprint import Facts
from dask_em.engine.folder import Folder
from dask_em.engine.kept import KeptMoments, KeptPass, KeptSample, KeptStart
from dask_em.engine.mark import ANEW, ROOM, Mark, is_left
from dask_em.engine.monitor import PassRecord
from dask_em.engine.packed import Packed
from dask_em.errors import ArchiveError
from dask_em.place import URL, Place, parse_place

__all__ = ["Checkpoint"]

MARKS = Mark("dask_em checkpoint", [3, archive.FORMAT_VERSION], "fit", "rows and options")
#: the names of what is kept
RECORDS = r"moments-\d+|sample-\d+|start-\d+-pass-\d+|pass-\d+"
KINDS = rf"checkpoint|{RECORDS}"


class Checkpoint:
    """What a fit keeps of itself. Made by `open`."""

    def __init__(self, place: Place) -> None:
        self._folder = Folder(place)
        self._begun: Facts | None = None  # the specification of the fit, once it is known

    @classmethod
    def open(cls, url: URL | Place, wanted: Facts | None = None) -> Checkpoint:
        """The checkpoint at a place, made if there is none.

        Parameters
        ----------
        url : str, path or Place
            Of a folder, local or of any file system that fsspec opens.
        wanted : mapping, optional
            The specification of the fit, see `engine.specification`; none as long as passes have
            to tell first what the fit will be of.

        Raises
        ------
        ArchiveError
            If the folder holds something else, the checkpoint of another fit or of a newer
            dask_em, or cannot be written.
        """
        made = cls(url if isinstance(url, Place) else parse_place(url))
        with made._folder.explain("used as a checkpoint", ROOM):
            found = MARKS.find(made._folder.place, wanted)
            made._begun = wanted or (found and found["specification"])
            # also where it is there: a folder that cannot be written is found
            MARKS.write(made._folder.place, made._begun)
            made._clear()
        return made

    def moments(self, number: int, wanted: Facts) -> KeptMoments | None:
        """What a pass before the fit told of the features, if it was made.

        Parameters
        ----------
        number : int
            Of the pass, among those before the fit.
        wanted : mapping
            All that decides what it tells.

        Raises
        ------
        ArchiveError
            If it was made of other rows, or the fit that is kept has none.
        """
        found = self._folder.load(f"moments-{number}")
        begun = self._begun
        if found is None:
            if begun is not None:  # it is another fit, which need not cost a pass to be found
                known = {name: begun.get(name) for name in wanted}
                self._check_same(known, wanted)
                what = f"pass {number + 1} for means and deviations"
                self._check_same({}, {what: "asked for"})
            return None
        assert isinstance(found, KeptMoments)
        self._check_same(found.specification, wanted)
        return found

    def keep_moments(
        self, number: int, moments: FeatureMoments, record: PassRecord, wanted: Facts
    ) -> KeptMoments:
        """Write what a pass before the fit told; return it."""
        name, kept = f"moments-{number}", KeptMoments(moments, record, json.dumps(wanted))
        self._folder.replace([one for one in self._folder.names() if one == name], name, kept)
        return kept

    def sample(self) -> KeptSample | None:
        """The largest sample, if one was drawn."""
        found = self._latest("sample-")
        assert found is None or isinstance(found, KeptSample)
        return found

    def keep_sample(self, sample: Block, complete: bool, record: PassRecord) -> None:
        kept = KeptSample(sample.values, sample.weights, complete, record)
        self._folder.replace(self._numbered("sample-"), f"sample-{len(sample):012d}", kept)

    def start(self, number: int) -> KeptStart | None:
        """Where a start stands, if it had begun."""
        found = self._latest(f"start-{number}-pass-")
        return None if found is None else _start(found)

    def keep(self, number: int, progress: Any, reseeds: int, chance: Mapping[str, Any]) -> Record:
        """Write where a start stands; return its progress as it will be read."""
        state = json.dumps(chance, default=_listed)
        packed = Packed.of(KeptStart(progress, reseeds, state))
        name = f"start-{number}-pass-"
        self._folder.replace(self._numbered(name), f"{name}{progress.n_passes:06d}", packed)
        found: Record = _start(packed).progress
        return found

    def last_pass(self) -> KeptPass | None:
        """Where all of many fits stand, if they had begun."""
        found = self._latest("pass-")
        if found is None:
            return None
        last, others = _pass(found), dict[int, KeptPass]()
        for place in set(last.places) - {last.number}:
            other = self._folder.load(f"pass-{place:06d}")
            if other is None:
                raise ArchiveError(
                    f"the checkpoint {self._folder} lacks pass-{place:06d}, in which a fit took "
                    f"part last; restore it, or {ANEW}"
                )
            others[place] = _pass(other)
        members = [
            others.get(place, last).members[index] for index, place in enumerate(last.places)
        ]
        return replace(last, members=tuple(members))

    def keep_pass(self, kept: KeptPass) -> KeptPass:
        """Write where those of many fits stand that took part in a pass; return it as read.

        What is kept of others, in the passes in which they took part last, stays.
        """
        packed = Packed.of(kept)
        needed = {f"pass-{place:06d}" for place in kept.places}
        name = f"pass-{kept.number:06d}"
        self._folder.replace(self._numbered("pass-"), name, packed, needed)
        return _pass(packed)

    def _check_same(self, there: Facts, here: Facts) -> None:
        MARKS.check_same(self._folder.place, there, here)

    def _clear(self) -> None:
        """Remove what a killed process left unfinished."""
        for name in self._folder.names():
            if is_left(name, KINDS):
                self._folder.remove(name)

    def _latest(self, beginning: str) -> Record | None:
        """The last record that was written to its end."""
        for name in reversed(self._numbered(beginning)):
            found = self._folder.load(name)
            if found is not None:
                return found
        return None

    def _numbered(self, beginning: str) -> list[str]:
        """What is kept under names with a number, the least first."""
        return sorted(name for name in self._folder.names() if name.startswith(beginning))


def _start(packed: Record) -> KeptStart:
    found = _unpacked(packed)
    assert isinstance(found, KeptStart)
    return found


def _pass(packed: Record) -> KeptPass:
    found = _unpacked(packed)
    assert isinstance(found, KeptPass)
    return found


def _unpacked(packed: Record) -> Record:
    assert isinstance(packed, Packed)
    return packed.unpacked()


def _listed(value: Any) -> Any:
    return value.tolist()
