"""A service without drivers: it keeps jobs in memory, and tests say what happens to them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

from dask_em.core.names import nearest
from dask_em.errors import InputError, JobStateError, UnknownJobError
from dask_em.service.job import State
from dask_em.service.view import JobView, Mark, PassView


@dataclass(frozen=True)
class FakeSettings:
    token: str | None = None
    hosts: tuple[str, ...] = ()
    open_paths: tuple[str, ...] = ()


@dataclass
class FakeCounters:
    driver_restarts: int = 0
    passes: int = 0
    rows: int = 0
    nbytes: int = 0
    submissions: int = 0
    refusals: int = 0


@dataclass
class FakeService:
    """What `scheduler.extensions["em"]` is asked over HTTP."""

    settings: FakeSettings = field(default_factory=FakeSettings)
    counters: FakeCounters = field(default_factory=FakeCounters)
    views: dict[str, JobView] = field(default_factory=dict)
    passes: dict[str, list[PassView]] = field(default_factory=dict)
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    waiting: int = 0  # for a change
    fails_with: Exception | None = None  # whatever is asked of one job

    def jobs(
        self, *, state: str | None = None, owner: str | None = None, tag: str | None = None
    ) -> list[JobView]:
        found = [view for view in self.views.values() if state in (None, view.state)]
        found = [view for view in found if owner in (None, view.owner)]
        return [view for view in found if tag is None or tag in view.tags][::-1]

    def job(self, id: str) -> JobView:
        if self.fails_with is not None:
            raise self.fails_with
        if id not in self.views:
            raise UnknownJobError(f"there is no job {id!r}; {nearest(id, list(self.views))}")
        return self.views[id]

    def trace(self, id: str, after: int = 0) -> list[PassView]:
        self.job(id)
        return [one for one in self.passes[id] if one.number > after]

    def marks(self, id: str) -> list[Mark]:
        self.job(id)
        return [Mark("lost", 1, 10.0, "its worker died")]

    def spec(self, id: str) -> dict[str, Any]:
        self.job(id)
        return self.specs[id]

    async def submit(self, spec: str | bytes, *, idempotency_key: str | None = None) -> JobView:
        told = json.loads(spec)
        if told.get("task") != "fit":
            self.counters.refusals += 1
            raise InputError(f"task is {told.get('task')!r}; give 'fit'")
        if idempotency_key in self.keys:
            return self.views[self.keys[idempotency_key]]
        self.counters.submissions += 1
        view = self.add(owner=told.get("owner", ""))
        self.specs[view.id] = told
        if idempotency_key is not None:
            self.keys[idempotency_key] = view.id
        return view

    async def cancel(self, id: str) -> JobView:
        return self._move(id, ended=False, state="cancelled")

    async def resume(self, id: str) -> JobView:
        return self._move(id, ended=True, state="queued")

    async def delete(self, id: str) -> None:
        self._move(id, ended=True, state=self.job(id).state)
        del self.views[id]

    async def logs(self, id: str, last: int = 100) -> list[dict[str, Any]]:
        self.job(id)
        lines = [{"time": float(n), "level": "info", "text": f"line {n}"} for n in range(200)]
        return lines[-last:]

    async def result(self, id: str) -> bytes:
        if self.job(id).state != "done":
            raise JobStateError(f"job {id} is {self.job(id).state}; wait until it is done")
        return b"PK\x05\x06" + bytes(18)

    async def changed(self, id: str | None, version: int, timeout: float) -> int:
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout):
                while self.job(str(id)).version <= version:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pass
        finally:
            self.waiting -= 1
        return self.job(str(id)).version

    def add(self, **changes: Any) -> JobView:
        """Another job."""
        view = replace(_VIEW, id=f"job-{len(self.views) + 1}", **changes)
        self.views[view.id] = view
        self.passes[view.id] = []
        self.specs[view.id] = {"task": "fit"}
        return view

    def change(self, id: str, **changes: Any) -> None:
        """Something happens to a job."""
        view = self.views[id]
        self.views[id] = replace(view, version=view.version + 1, **changes)

    def add_pass(self, id: str, objective: float = -1.5) -> None:
        """A job read its data once more."""
        number = len(self.passes[id]) + 1
        self.passes[id].append(replace(_PASS, number=number, objective=objective))
        self.change(id, passes=number, objective=objective)

    def _move(self, id: str, *, ended: bool, state: str) -> JobView:
        found = self.job(id).state
        if State(found).ended is not ended:
            raise JobStateError(f"job {id} is {found}")
        self.change(id, state=state)
        return self.views[id]


_VIEW = JobView(
    id="",
    token="3f9a",
    task="fit",
    what="gaussian_mixture k=3 full",
    data="s3://bucket/ocean.zarr",
    output="s3://bucket/model.zarr",
    owner="ada",
    tags={"season": "winter"},
    priority=0,
    state="running",
    submitted=100.0,
    started=101.0,
    ended=None,
    epoch=1,
    restarts=0,
    passes=0,
    max_passes=None,
    doing="pass 1",
    tasks_done=0,
    tasks=16,
    objective=None,
    gap=None,
)

_PASS = PassView(
    number=1,
    kind="em",
    ended=110.0,
    objective=-1.5,
    gain=0.25,
    gap=None,
    seconds=2.0,
    read_seconds=0.5,
    compute_seconds=1.0,
    between_seconds=0.0,
    rows=1000,
    nbytes=8000,
)
