"""The progress that ``verbose`` prints, in scikit-learn's words."""

from __future__ import annotations

from typing import Any

from dask_em.engine.monitor import Monitor, PassRecord

__all__ = ["Verbose"]


class Verbose(Monitor):
    """Prints a line per `interval` iterations; at level 2 also seconds and gain."""

    def __init__(self, level: int, interval: int) -> None:
        self.level, self.interval = level, interval

    @classmethod
    def of(cls, estimator: Any) -> Monitor:
        """The monitor that an estimator's ``verbose`` asks for."""
        if not estimator.verbose:
            return Monitor()
        return cls(int(estimator.verbose), estimator.verbose_interval)

    def begin(self, kind: str, iteration: int, n_tasks: int) -> None:
        if kind == "em" and iteration == 0:
            print("Initialization")  # noqa: T201

    def end(self, record: PassRecord) -> None:
        n_iter = record.iteration + 1
        if record.kind != "em" or n_iter % self.interval:
            return
        line = f"  Iteration {n_iter}"
        if self.level >= 2:
            gain = "" if record.gain is None else f"\t ll change {record.gain:.5f}"
            line += f"\t time lapse {record.seconds:.5f}s{gain}"
        print(line)  # noqa: T201
