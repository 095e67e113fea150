"""Launcher: what a service needs of a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod

__all__ = ["DriverEndedError", "Launcher"]


class DriverEndedError(Exception):
    """How a driver ended that could not say so itself.

    Parameters
    ----------
    reason : str
    lost : bool
        Whether it is no fault of its own, so that another one may do better.
    trace : str
        The traceback, if there is one.
    """

    def __init__(self, reason: str, *, lost: bool, trace: str = "") -> None:
        super().__init__(reason)
        self.reason, self.lost, self.trace = reason, lost, trace


class Launcher(ABC):
    """Starts and stops drivers."""

    @abstractmethod
    async def run(self, id: str, epoch: int) -> None:
        """Start a driver, and return when it has ended. If this is cancelled, so is the driver.

        Raises
        ------
        DriverEndedError
        """

    @abstractmethod
    async def stop(self, id: str, epoch: int) -> None:
        """Cancel a driver, if it is still there."""

    @abstractmethod
    def has_begun(self, id: str, epoch: int) -> bool:
        """Whether a worker has begun to run a driver, which may say something from then on."""

    @abstractmethod
    async def part_with_worker(self, id: str, epoch: int, silence: float) -> bool:
        """Remove the worker of a driver if it has said nothing at all for so many seconds.

        Returns
        -------
        bool
            Whether the cluster will run the driver again of its own accord.
        """
