"""Trail: one start's passes, watched, and kept where there is a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from numpy.random import Generator

from dask_em.core.records import Parameters, Statistics
from dask_em.engine.fingerprint import Watch

if TYPE_CHECKING:
    from dask_em.engine.checkpoint import Checkpoint
    from dask_em.engine.course import Progress
    from dask_em.engine.mending import Mending

__all__ = ["Trail"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)


class Trail(Generic[P, S]):
    """Told of each pass of one start.

    Parameters
    ----------
    number : int
        Of the start, among those of the fit.
    mending : Mending
        Its count of moved components is kept too.
    rng : numpy.random.Generator
        Chance in the starts that are still to be made.
    watch : Watch
    checkpoint : Checkpoint, optional
    """

    def __init__(
        self,
        number: int,
        mending: Mending[P, S],
        rng: Generator,
        watch: Watch,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._number, self._mending, self._rng = number, mending, rng
        self._watch, self._checkpoint = watch, checkpoint

    def resumed(self) -> Progress[P, S] | None:
        """Where the start stood when it was interrupted; None if it had not begun."""
        kept = None if self._checkpoint is None else self._checkpoint.start(self._number)
        if kept is None:
            return None
        self._mending.reseeds = kept.reseeds
        self._rng.bit_generator.state = kept.chance
        progress: Any = kept.progress
        return progress  # type: ignore[no-any-return]

    def passed(self, progress: Progress[P, S]) -> Progress[P, S]:
        """What to go on with after a pass: where it is kept, just what a resumed fit would have.

        Raises
        ------
        SourceError
            If the source changed.
        ArchiveError
            If the checkpoint cannot be written.
        """
        self._watch.check()
        if self._checkpoint is None:
            return progress
        chance = self._rng.bit_generator.state
        kept: Any = self._checkpoint.keep(self._number, progress, self._mending.reseeds, chance)
        return kept  # type: ignore[no-any-return]
