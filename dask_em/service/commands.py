"""What is to be done once a change of a job is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Command", "Forget", "Launch", "Stop"]


@dataclass(frozen=True)
class Launch:
    """Start a driver."""

    epoch: int


@dataclass(frozen=True)
class Stop:
    """Cancel a driver, if it is still there."""

    epoch: int


@dataclass(frozen=True)
class Forget:
    """Remove all that is stored of the job."""


Command: TypeAlias = Launch | Stop | Forget
