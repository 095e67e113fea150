"""The job service, whose jobs stand where a test says they do; nobody drives them."""

from __future__ import annotations

import time
from dataclasses import replace

from dask_em.service.config import Settings
from dask_em.service.entry import Entry
from dask_em.service.job import Job, State
from dask_em.service.spec import parse
from dask_em.service.supervisor import Supervisor
from dask_em.service.view import JobView, PassView
from tests.service.office import Drivers, ignore, spec


class Played(Supervisor):
    """What is asked of it is answered as always."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, Drivers(), ignore)
        self.waiting = 0  # for a change
        self.fails_with: Exception | None = None  # whatever is asked of one job

    def job(self, id: str) -> JobView:
        if self.fails_with is not None:
            raise self.fails_with
        return super().job(id)

    async def changed(self, id: str | None, version: int, timeout: float) -> int:
        self.waiting += 1
        try:
            return await super().changed(id, version, timeout)
        finally:
            self.waiting -= 1

    def add(
        self, state: str = "running", owner: str = "ada", tags: dict[str, str] | None = None
    ) -> JobView:
        """Another job, ``job-1`` and so on."""
        text = spec(owner=owner, tags=tags or {})
        order = self._table.next_order()
        now = time.time()
        job = Job(
            f"job-{order}", order, owner=owner, state=State(state), epoch=1, submitted=now,
            ended=now if State(state).ended else None, not_before=now + 3600,
        )  # fmt: skip
        entry = Entry(job, parse(text), text)
        self.store.add(job, text, None)
        self._table.hold(entry)
        return self._table.view(entry.id)

    def change(self, id: str, state: str) -> None:
        """It stands somewhere else."""
        entry = self._table.entry(id)
        ended = time.time() if State(state).ended else None
        entry.job = replace(entry.job, state=State(state), ended=ended)
        self._table.touch(entry)

    def say(self, id: str, text: str, mark: str | None = None) -> None:
        """A line of its log."""
        self._table.entry(id).say(text, mark=mark)

    def add_pass(self, id: str, objective: float = -1.5, weights: tuple[float, ...] = ()) -> None:
        """It read its data once more."""
        entry = self._table.entry(id)
        entry.passed(replace(_PASS, number=entry.passes + 1, objective=objective))
        entry.weights = weights
        self._table.touch(entry)

    def forget(self, id: str) -> None:
        """It is not there any more."""
        self._table.drop(self._table.entry(id))


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
