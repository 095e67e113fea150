"""A job service that is none: it keeps what it is told and plays what a test has written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dask_em.core.names import nearest
from dask_em.errors import JobStateError, UnknownJobError
from dask_em.service.view import JobView, Mark, PassView

COMMANDS = ("listing", "logs", "result", "show", "steer", "submit", "watch")

#: far from where an age in hours changes
BEGUN = time.time() - 3.5 * 3600
RUNNING = JobView(
    id="3f2a91c0",
    token="9d1c5be01f3a",
    task="fit",
    what="gaussian_mixture k=3 full",
    data="s3://bucket/ocean.zarr",
    output="s3://bucket/model.zarr",
    owner="ada",
    tags={"season": "winter"},
    priority=0,
    state="running",
    submitted=BEGUN,
    started=BEGUN + 10,
    ended=None,
    epoch=1,
    restarts=0,
    passes=2,
    max_passes=100,
    doing="pass 3",
    tasks_done=5,
    tasks=16,
    objective=-3.5,
    gap=None,
    weights=(0.5, 0.25, 0.25),
    worker="tcp://10.0.0.7:4000",
)
QUEUED = replace(
    RUNNING, id="77b01d5e", state="queued", started=None, epoch=0, passes=0, doing="",
    tasks=0, objective=None, weights=(), worker=None, owner="grace", position=3,
)  # fmt: skip
DONE = replace(RUNNING, state="done", passes=4, doing="", tasks=0, ended=BEGUN + 340, worker=None)
FAILED = replace(
    DONE, id="c0ffee00", state="failed", error="Traceback ...\n  line 3\nDataError: rows with NaN"
)


def one_pass(number: int, objective: float | None = None, **changes: Any) -> PassView:
    told = PassView(
        number=number,
        kind="first" if number == 1 else "em",
        ended=RUNNING.submitted + number,
        objective=-10.0 / number if objective is None else objective,
        gain=None if number < 3 else 0.25,
        gap=None,
        seconds=2.0,
        read_seconds=1.0,
        compute_seconds=0.5,
        between_seconds=0.1,
        rows=1_000_000,
        nbytes=24_000_000,
    )
    return replace(told, **changes)


@dataclass
class FakeJob:
    """Plays its views one after the other; `passes` holds what the trace has at each."""

    view: JobView
    later: tuple[JobView, ...] = ()
    passes: tuple[PassView, ...] = ()
    befell: tuple[Mark, ...] = ()
    lines: list[dict[str, Any]] = field(default_factory=list)
    saves: Callable[[str, bool], object] | None = None
    asked: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.view.id

    def refresh(self) -> JobView:
        if self.later:
            self.view, *rest = self.later
            self.later = tuple(rest)
        return self.view

    def watch(self) -> Iterator[JobView]:
        yield self.view
        while self.later:
            self.refresh()
            yield self.view

    def trace(self, after: int = 0) -> list[PassView]:
        self.asked.append(f"trace {after}")
        had = [one for one in self.passes if one.number <= self.view.passes]
        return [one for one in had if one.number > after]

    def marks(self) -> list[Mark]:
        return [mark for mark in self.befell if mark.number <= self.view.passes]

    def spec(self) -> dict[str, Any]:
        return {"task": self.view.task}

    def logs(self, last: int = 100) -> list[dict[str, Any]]:
        return self.lines[-last:] if last else []

    def cancel(self) -> None:
        self._turn("cancelled", ("queued", "running"))

    def resume(self) -> None:
        self._turn("queued", ("failed", "cancelled"))

    def delete(self) -> None:
        self._turn("deleted", ("done", "failed", "cancelled"))

    def save_result(self, path: str, *, overwrite: bool = False) -> None:
        if self.saves is None:
            raise JobStateError(f"job {self.id} makes no model")
        self.saves(path, overwrite)

    def _turn(self, state: str, possible: tuple[str, ...]) -> None:
        if self.view.state not in possible:
            raise JobStateError(f"job {self.id} is {self.view.state} already")
        self.view = replace(self.view, state=state)


class FakeService:
    """Has the jobs that a test gave it."""

    def __init__(self) -> None:
        self.held: dict[str, FakeJob] = {}
        self.told: list[tuple[Any, ...]] = []
        self.refuses: Exception | None = None

    def add(self, view: JobView, **script: Any) -> FakeJob:
        self.held[view.id] = FakeJob(view, **script)
        return self.held[view.id]

    def submit(self, spec: dict[str, Any], *, idempotency_key: str | None = None) -> FakeJob:
        if self.refuses is not None:
            raise self.refuses
        self.told.append((spec, idempotency_key))
        return self.held[RUNNING.id]

    def jobs(self, **filters: str | None) -> list[FakeJob]:
        self.told.append(tuple(filters.values()))
        return list(self.held.values())

    def job(self, name: str) -> FakeJob:
        if name not in self.held:
            raise UnknownJobError(f"there is no job {name}; {nearest(name, list(self.held))}")
        return self.held[name]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """The service that all commands reach, whatever scheduler they name."""
    fake = FakeService()

    @contextmanager
    def connected_to(scheduler: str | None) -> Iterator[FakeService]:
        yield fake

    for command in COMMANDS:
        monkeypatch.setattr(f"dask_em.cli.jobs.{command}.connected_to", connected_to)
    monkeypatch.setenv("COLUMNS", "200")
    return fake


@pytest.fixture(autouse=True)
def no_scheduler_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    monkeypatch.setitem(dask.config.config, "scheduler-address", None)
