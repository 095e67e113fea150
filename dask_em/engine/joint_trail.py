"""JointTrail: the passes of many fits, watched, and kept where there is a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dask_em.engine.fingerprint import Watch
from dask_em.engine.kept import KeptMember, KeptPass
from dask_em.engine.monitor import PassRecord

if TYPE_CHECKING:
    from dask_em.engine.checkpoint import Checkpoint

__all__ = ["JointTrail"]


class JointTrail:
    """Told of each pass that many fits share.

    Parameters
    ----------
    watch : Watch
    checkpoint : Checkpoint, optional
    """

    def __init__(self, watch: Watch, checkpoint: Checkpoint | None) -> None:
        self._watch, self._checkpoint = watch, checkpoint
        self._places: tuple[int, ...] = ()

    def resumed(self) -> KeptPass | None:
        """Where all stood when they were interrupted; None if no pass was made."""
        kept = None if self._checkpoint is None else self._checkpoint.last_pass()
        if kept is not None:
            self._places = kept.places
        return kept

    def passed(
        self,
        history: Sequence[PassRecord],
        members: Sequence[KeptMember],
        changed: Sequence[bool],
    ) -> Sequence[KeptMember]:
        """What to go on with after a pass: where it is kept, just what a resumed fit would have.

        Parameters
        ----------
        history : sequence of PassRecord
            Of all passes after the first.
        members : sequence of KeptMember
            Where each stands.
        changed : sequence of bool
            Which of them took part in the pass. What is kept of others stays as it is.

        Raises
        ------
        SourceError
            If the source changed.
        ArchiveError
            If the checkpoint cannot be written.
        """
        self._watch.check()
        if self._checkpoint is None:
            return members
        number = len(history)
        # the first time all are written: some may have failed before there was a pass
        before = self._places or (0,) * len(members)
        self._places = tuple(
            number if new or not place else place
            for new, place in zip(changed, before, strict=True)
        )
        written = [
            one if place == number else None
            for one, place in zip(members, self._places, strict=True)
        ]
        kept = self._checkpoint.keep_pass(KeptPass(tuple(history), tuple(written), self._places))
        return [new or one for new, one in zip(kept.members, members, strict=True)]
