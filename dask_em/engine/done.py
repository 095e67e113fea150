"""Done: what tells which tasks of a writing pass are done, and what their reading cost."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from dask_em.engine.ahead import at_once
from dask_em.engine.mark import MARK, is_left
from dask_em.engine.source import Partition
from dask_em.engine.stream import Tally
from dask_em.errors import ArchiveError
from dask_em.place import Place

__all__ = ["Done", "tally_in", "told_by"]

#: the file of a task, by the first of its chunks
NAME = r"done-\d{9}\.json"
#: files that are read, or removed, at a time
REQUESTS = 16

GOES_ON = "free some space or check permissions; the same call goes on from what is kept"


@dataclass(frozen=True)
class Done:
    """A folder with a file for each task that is done; small and picklable.

    A task writes its file itself, when all that it has to write is written. Tasks are pure, so it
    does no harm if two of them do the same.
    """

    place: Place

    def of(self, leaves: Sequence[Partition]) -> Tally | None:
        """The tally of the task with these leaves; None if it is not done."""
        try:
            told = json.loads(self.place.files().read(_name(leaves)))
        except (
            FileNotFoundError,
            ValueError,
        ):  # not there, or half-written where nothing is renamed
            return None
        return tally_in(told["tally"]) if told["chunks"] == _runs(leaves) else None

    def keep(self, leaves: Sequence[Partition], tally: Tally) -> None:
        """Say that a task is done.

        Raises
        ------
        ArchiveError
            If the folder is not there, or cannot be written.
        """
        told = {"chunks": _runs(leaves), "tally": told_by(tally)}
        with self.place.explain("used as a checkpoint", GOES_ON):
            # made here, the folder would be another machine's, or one that was removed
            if not self.place.files().exists(MARK):
                raise ArchiveError(
                    f"the checkpoint {self.place} is not there on a worker: either it was removed, "
                    "or the worker does not mount the folder; give one that all workers mount"
                )
            self.place.files().write(_name(leaves), json.dumps(told).encode())

    def among(self, tasks: Sequence[Sequence[Partition]]) -> list[Tally | None]:
        """For each task its tally; None for those that are not done."""
        names = set(self.place.files().names())

        def found(leaves: Sequence[Partition]) -> Tally | None:
            if not any(leaf.chunks for leaf in leaves):
                return Tally()
            return self.of(leaves) if _name(leaves) in names else None

        return list(at_once((partial(found, leaves) for leaves in tasks), REQUESTS))

    def clear(self, killed_only: bool = False) -> None:
        """Remove what tells of tasks, or no more than what killed ones left."""
        files = self.place.files()
        gone = [
            name
            for name in files.names()
            if is_left(name, f"{NAME}|{re.escape(MARK)}")
            or (re.fullmatch(NAME, name) and not killed_only)
        ]
        for _ in at_once((partial(files.remove, name) for name in gone), REQUESTS):
            pass  # thousands, of which each may wait for an answer


def told_by(tally: Tally) -> dict[str, Any]:
    """A tally as JSON has it."""
    return asdict(tally)


def tally_in(told: dict[str, Any]) -> Tally:
    """The tally that JSON holds."""
    return Tally(**told)


def _name(leaves: Sequence[Partition]) -> str:
    first = min(leaf.chunks.start for leaf in leaves if leaf.chunks)
    return f"done-{first:09d}.json"


def _runs(leaves: Sequence[Partition]) -> list[list[int]]:
    """The runs of chunks of a task, as JSON has them; empty ones left out, neighbours joined."""
    runs: list[list[int]] = []
    for leaf in leaves:
        if runs and leaf.chunks and runs[-1][1] == leaf.chunks.start:
            runs[-1][1] = leaf.chunks.stop
        elif leaf.chunks:
            runs.append([leaf.chunks.start, leaf.chunks.stop])
    return runs
