"""What anybody sees of a job: plain values that every surface shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["JobView", "Mark", "PassView"]


@dataclass(frozen=True)
class PassView:
    """One full pass over the data, as it is kept in the trace of a job."""

    number: int  # counted from 1, over all that the job has read
    kind: str  # "moments", "first" for the one that brings the sample, "em"
    ended: float  # seconds since 1970
    objective: float | None  # nats per row
    gain: float | None  # nats per row over the pass before
    gap: float | None  # estimated nats per row to the optimum
    seconds: float  # wall time
    read_seconds: float  # per thread
    compute_seconds: float  # per thread
    between_seconds: float  # in memory, before the next pass
    rows: int
    nbytes: int  # read and decoded
    step: str | None = None  # how the parameters were found
    notes: tuple[str, ...] = ()  # repairs, and chunks that were skipped

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @property
    def wait_seconds(self) -> float:
        """What is left of the wall time per thread: waiting for others, and for the scheduler."""
        return max(0.0, self.seconds - self.read_seconds - self.compute_seconds)

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.nbytes / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Mark:
    """Something that befell a job: a driver that was lost, a component that was repaired."""

    kind: str  # "lost", "resumed", "repair", "skipped"
    number: int  # passes in the trace when it happened
    at: float  # seconds since 1970
    text: str

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class JobView:
    """A job."""

    id: str
    token: str  # of all that decides what it gives
    task: str  # "fit", "sweep", "predict"
    what: str  # in words: "gaussian_mixture k=8 full"
    data: str  # URL of the rows, without secrets
    output: str | None  # URL of what it makes beside the store, without secrets
    owner: str
    tags: dict[str, str]
    priority: int
    state: str
    submitted: float  # seconds since 1970
    started: float | None
    ended: float | None
    epoch: int  # drivers that were launched
    restarts: int  # of them after a loss
    passes: int  # that count
    max_passes: int | None
    doing: str  # what its driver does now: "pass 7", "starting"; empty if there is none
    tasks_done: int  # of that pass
    tasks: int
    objective: float | None  # nats per row, of the last pass
    gap: float | None  # estimated nats per row to the optimum
    weights: tuple[float, ...] = ()  # of the components
    worker: str | None = None  # that the driver is on
    not_before: float = 0.0  # seconds since 1970; when it is tried again
    error: str | None = None
    position: int | None = None  # in the queue, counted from 1
    version: int = 0  # grows with every change

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)
