"""Monitor: who is told how a pass goes on. It sees, and may only end it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dask_em.core.model import Repair
from dask_em.core.records import Record

__all__ = ["Monitor", "PassRecord"]


@dataclass(frozen=True)
class PassRecord(Record):
    """One full pass over the data."""

    kind: str  # "moments", "first" for the pass that brings the sample, "em" for an E-step
    iteration: int  # EM iterations before this pass
    objective: float | None  # nats per row of the parameters that the pass was made with
    gain: float | None  # nats per row over the pass before
    seconds: float  # wall time
    read_seconds: float  # summed over tasks
    compute_seconds: float  # summed over tasks
    rows: int  # that entered
    dropped: int  # left out by the policy on missing values
    nbytes: int  # read and decoded
    bad_chunks: int  # skipped; of a chunk that is read in parts, each part counts
    n_tasks: int
    kernel: str | None  # which arithmetic the E-step used
    repairs: tuple[Repair, ...] = ()  # of the M-step before the pass
    step: str | None = None  # how the parameters were found: "em", "corrected", "rejected", ...
    gap: float | None = None  # estimated nats per row from the objective to its optimum
    cached_bytes: int = 0  # that the workers had kept
    sample_rows: int = 0  # of a sample that the pass brought along
    between_seconds: float = 0.0  # in memory, from the end of the pass to the next
    incomplete: int = 0  # rows that entered though something of them is not observed
    empty: int = 0  # and those of which nothing is

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.nbytes / self.seconds if self.seconds else 0.0


class Monitor:
    """Told of passes and tasks; the base class keeps silent.

    Where there is a checkpoint, what a monitor was told of is kept: `end` is called when the
    checkpoint holds all that the pass brought. A fit that goes on from a checkpoint tells of all
    passes from the beginning, in the order of its history, so that a monitor sees the whole trace;
    those that are not made again end without a beginning.
    """

    def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
        """A pass begins."""

    def advance(self) -> None:
        """A task of the pass has ended. Called from any thread."""

    def reach(self, parameters: Any) -> None:
        """Where a fit stands with the pass whose end is told next."""

    def waiting(self) -> None:
        """Called at least twice a second while a cluster works on a pass.

        What it raises ends the work: the tasks of the pass are cancelled, and it is raised where
        the fit was called.
        """

    def end(self, record: PassRecord) -> None:
        """The pass has ended."""
