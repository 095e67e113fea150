"""Ledger: the checkpoint of answers that are written, a folder that tells how far they got.

::

    checkpoint.json        whose answers they are: the format's version and the specification; into
                           how many tasks the work is cut, how far it is as a whole, and when it
                           was, of each output what tells it from others
    done-000000064.json    the tally of the task that begins at chunk 64, which is done

What is written itself is not here but in the drafts of the outputs. They bear the name of the
ledger, which follows from the specification, so that the same call finds them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any

from dask_em.engine.done import Done, tally_in, told_by
from dask_em.engine.fingerprint import Facts, digest
from dask_em.engine.mark import ROOM, Mark
from dask_em.engine.stream import Tally
from dask_em.errors import ArchiveError
from dask_em.place import URL, Place, parse_place

__all__ = ["Ledger", "Stage"]

MARKS = Mark("dask_em checkpoint of answers", [1], "prediction", "rows, model and outputs")


class Stage(StrEnum):
    """How far the work is as a whole."""

    NEW = "new"  # nothing counts of what tasks have written
    BEGUN = "begun"  # tasks are done
    WRITTEN = "written"  # all are, and outputs take their places
    WHOLE = "whole"  # they have


class Ledger:
    """What is known of answers while they are written. Made by `open`."""

    def __init__(self, place: Place, wanted: Facts, told: dict[str, Any]) -> None:
        self._place, self._wanted = place, wanted
        self.stage = Stage(told.get("stage", Stage.NEW))
        self._n_tasks: int | None = told.get("n_tasks")
        self.tally = tally_in(told["tally"]) if "tally" in told else Tally()
        #: of each output, when all have taken their places
        self.stamps: Mapping[str, str | None] = told.get("stamps", {})

    @classmethod
    def open(cls, url: URL | Place, wanted: Facts) -> Ledger:
        """The ledger at a place; nothing is made yet if there is none.

        Parameters
        ----------
        url : str, path or Place
            Of a folder, local or of any file system that fsspec opens.
        wanted : mapping
            The specification of the answers, see `engine.specification`.

        Raises
        ------
        ArchiveError
            If the folder holds something else, the checkpoint of other answers or of another
            version.
        """
        place = url if isinstance(url, Place) else parse_place(url)
        with place.explain("used as a checkpoint", ROOM):
            return cls(place, wanted, MARKS.find(place, wanted) or {})

    @classmethod
    def left(cls, place: Place) -> Ledger | None:
        """The ledger at a place, whatever answers it is of; None where none is.

        Raises
        ------
        ArchiveError
            If the folder holds something else, or a ledger of another version.
        """
        with place.explain("used as a checkpoint", ROOM):
            told = MARKS.find(place, None)
        return None if told is None else cls(place, told["specification"], told)

    def __str__(self) -> str:
        return str(self._place)

    def again(self) -> Ledger:
        """The ledger as it is now, when another process may have gone on with it."""
        return Ledger.open(self._place, self._wanted)

    @property
    def name(self) -> str:
        """What drafts are called by: a short name of the specification."""
        return digest(dict(self._wanted))

    @property
    def n_tasks(self) -> int:
        """Into how many tasks the work was cut."""
        assert self._n_tasks is not None, "the work has not begun"
        return self._n_tasks

    @property
    def done(self) -> Done:
        """What tells which tasks are done; it is meant for workers too."""
        return Done(self._place)

    @property
    def is_written(self) -> bool:
        """Whether all tasks are done."""
        return self.stage in (Stage.WRITTEN, Stage.WHOLE)

    def mark(self) -> None:
        """Make the folder, or find out that it cannot be written.

        Raises
        ------
        ArchiveError
            If that is so, or another process finished meanwhile.
        """
        self._check_unfinished()
        self._move(self.stage)
        with self._place.explain("used as a checkpoint", ROOM):
            self.done.clear(killed_only=True)

    def forget(self) -> None:
        """Begin anew: what tasks have written is not there any more.

        Raises
        ------
        ArchiveError
            If another process finished meanwhile, or the folder cannot be written.
        """
        self._check_unfinished()
        self._n_tasks, self.tally, self.stamps = None, Tally(), {}
        self._move(Stage.NEW)

    def begin(self, n_tasks: int) -> int:
        """Cut the work into tasks, unless it is; how many there are."""
        if self.stage is Stage.NEW:
            with self._place.explain("used as a checkpoint", ROOM):
                self.done.clear()
            self._n_tasks = n_tasks
            self._move(Stage.BEGUN)
        return self.n_tasks

    def written(self, tally: Tally) -> None:
        """All tasks are done.

        Raises
        ------
        ArchiveError
            If another process finished meanwhile, or the folder cannot be written.
        """
        self._check_unfinished()
        self.tally = tally
        self._move(Stage.WRITTEN)

    def finish(self, stamps: Mapping[str, str | None]) -> None:
        """All outputs have taken their places; of this the folder goes on to tell.

        If it vanished, a process that is killed right after could not be told from one that never
        began.

        Parameters
        ----------
        stamps : mapping
            For each output what tells it from one that others put in its place later.
        """
        self.stamps = stamps
        self._move(Stage.WHOLE)
        with suppress(ArchiveError), self._place.explain("used as a checkpoint", ROOM):
            self.done.clear()  # what stays does no harm

    def _check_unfinished(self) -> None:
        """Refuse to go on where another process, which did the same, has come to the end."""
        if self.stage is not Stage.WHOLE and self.again().stage is Stage.WHOLE:
            raise ArchiveError(
                f"another process has finished the answers of the checkpoint {self} meanwhile; "
                "make the same call again, which finds them"
            )

    def _move(self, stage: Stage) -> None:
        self.stage = stage
        with self._place.explain("used as a checkpoint", ROOM):
            MARKS.write(
                self._place, self._wanted,
                stage=stage, n_tasks=self._n_tasks, tally=told_by(self.tally), stamps=self.stamps,
            )  # fmt: skip
