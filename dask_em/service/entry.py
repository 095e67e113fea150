"""Entry: a job as the service holds it, and what is seen of it beside what decides."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dask_em.remote.secrets import without_secrets
from dask_em.service.job import Job, State
from dask_em.service.spec import Fit, Predict, Sweep, parse, token
from dask_em.service.store import LOG, TRACE, StoredJob
from dask_em.service.view import JobView, Mark, PassView

__all__ = ["Entry"]

#: lines of a job's log that are kept, and passes of its trace
MOST_LINES, MOST_PASSES = 1000, 5000

_PASS = TypeAdapter(PassView)


class Entry:
    """A job of a service. Lives on the scheduler's event loop.

    Parameters
    ----------
    job : Job
    spec : specification
    text : str
        The specification as it was submitted.
    key : str, or None
        Under which it was submitted.
    """

    def __init__(
        self, job: Job, spec: Fit | Sweep | Predict, text: str, key: str | None = None
    ) -> None:
        self.job, self.spec, self.text, self.key = job, spec, text, key
        self.token = token(spec)
        self.lock = asyncio.Lock()  # of changes of the job
        self.files = asyncio.Lock()  # of what people read of it: held while those are written
        self.version = 0
        self.trace: deque[PassView] = deque(maxlen=MOST_PASSES)
        self._before_em = 0  # passes of another kind, of which `max_iter` does not speak
        self.lines: deque[dict[str, Any]] = deque(maxlen=MOST_LINES)
        self.marks: list[Mark] = []
        self.dirty: set[str] = set()  # files that are to be written
        self.weights: tuple[float, ...] = ()
        self.restarts = 0
        self.trouble: str | None = None  # why it stands still, where that cannot be kept
        self.rest()

    @classmethod
    def found(cls, stored: StoredJob) -> Entry:
        """A job as the store has it.

        Raises
        ------
        InputError
            If its specification cannot be read.
        """
        entry = cls(stored.job, parse(stored.spec), stored.spec, stored.key)
        # what is told to people decides nothing: a line that somebody spoiled is left out, and
        # passes that do not count, of which the next driver would be thought to have told
        for told in stored.trace:
            with suppress(ValidationError):
                one = _PASS.validate_python(told)
                if entry.passes < one.number <= stored.job.iteration:
                    entry._trace(one)
        entry.lines.extend(filter(_is_line, stored.log))
        for line in entry.lines:
            if isinstance(line.get("mark"), str) and isinstance(line.get("passes"), int):
                entry._mark(line["mark"], line["passes"], line["time"], line["text"])
        entry.restarts = sum(mark.kind == "lost" for mark in entry.marks)
        return entry

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def passes(self) -> int:
        """Full passes that are in the trace."""
        return self.trace[-1].number if self.trace else 0

    def rest(self) -> None:
        """Nobody works on it."""
        self.doing, self.tasks_done, self.tasks = "", 0, 0
        self.worker: str | None = None
        self.heard = time.monotonic()

    def work(self, doing: str, tasks_done: int, tasks: int) -> bool:
        """Its driver says what it does; return whether that is something new."""
        before = (self.doing, self.tasks_done, self.tasks)
        self.doing, self.tasks_done, self.tasks = doing, tasks_done, tasks
        self.heard = time.monotonic()
        return before != (doing, tasks_done, tasks)

    def say(self, text: str, level: str = "info", mark: str | None = None) -> None:
        """Add a line to its log.

        Parameters
        ----------
        text : str
        level : {"info", "warning", "error"}
        mark : str, optional
            What kind of mark it makes on the curve.
        """
        now = time.time()
        line = {"time": now, "level": level, "text": text, "epoch": self.job.epoch}
        if self.worker is not None:
            line["worker"] = self.worker
        if mark is not None:
            line.update(mark=mark, passes=self.passes)
            self._mark(mark, self.passes, now, text)
        self.lines.append(line)
        self.dirty.add(LOG)

    def suffer(self, trouble: str) -> bool:
        """Say once why it stands still; whether it was not known."""
        if self.trouble is not None:
            return False
        self.trouble = trouble
        self.say(trouble, "warning")
        return True

    def passed(self, one: PassView) -> None:
        """Add a pass to its trace, unless it is there."""
        if one.number <= self.passes:
            return
        self._trace(one)
        self.dirty.add(TRACE)
        for note in one.notes:
            self.say(note, "warning", "skipped" if "chunk" in note else "repair")

    def written(self, name: str) -> list[dict[str, Any]]:
        """The lines of one of its files."""
        return list(self.lines) if name == LOG else [asdict(one) for one in self.trace]

    def view(self, position: int | None = None) -> JobView:
        """What is seen of it.

        Parameters
        ----------
        position : int, optional
            In the queue.
        """
        job, spec = self.job, self.spec
        last = next((one for one in reversed(self.trace) if one.objective is not None), None)
        return JobView(
            id=job.id,
            token=self.token,
            task=spec.task,
            what=_what(spec),
            data=_shown(spec.data.url),
            output=_output(spec),
            owner=job.owner,
            tags=dict(spec.tags),
            priority=job.priority,
            state=str(job.state),
            submitted=job.submitted,
            started=job.started,
            ended=job.ended,
            epoch=job.epoch,
            restarts=self.restarts,
            passes=self.passes,
            max_passes=self._most_passes(),
            doing=self.doing if job.state is State.running else "",
            tasks_done=self.tasks_done,
            tasks=self.tasks,
            objective=None if last is None else last.objective,
            gap=None if last is None else last.gap,
            weights=self.weights,
            worker=self.worker,
            not_before=job.not_before,
            error=self.trouble or job.error,
            position=position,
            version=self.version,
        )

    def _most_passes(self) -> int | None:
        """Passes that it may make, with those that come before EM."""
        most = None if isinstance(self.spec, Predict) else self.spec.stopping.max_iter
        return None if most is None else most + self._before_em

    def _trace(self, one: PassView) -> None:
        self.trace.append(one)
        self._before_em += one.kind != "em"

    def _mark(self, kind: str, number: int, at: float, text: str) -> None:
        self.marks.append(Mark(kind, number, at, text))
        del self.marks[:-MOST_LINES]


def _is_line(told: Any) -> bool:
    """Whether it is a line of a log, as `Entry.say` makes them."""
    return (
        isinstance(told, dict)
        and isinstance(told.get("time"), int | float)
        and isinstance(told.get("level"), str)
        and isinstance(told.get("text"), str)
    )


def _what(spec: Fit | Sweep | Predict) -> str:
    if isinstance(spec, Fit):
        covariance = getattr(spec.model, "covariance_type", "")
        letter = "k" if covariance else "q"
        return f"{spec.model.kind} {letter}={spec.model.n_components} {covariance}".rstrip()
    if isinstance(spec, Sweep):
        sizes = spec.candidates.n_components
        return f"sweep k={min(sizes)}..{max(sizes)} {','.join(spec.candidates.covariance_type)}"
    return f"predict {', '.join(spec.outputs)}"


def _output(spec: Fit | Sweep | Predict) -> str | None:
    if isinstance(spec, Predict):
        return ", ".join(dict.fromkeys(map(without_secrets, spec.outputs.values())))
    return None if spec.output is None else without_secrets(spec.output)


def _shown(url: str | list[str]) -> str:
    urls = [url] if isinstance(url, str) else url
    more = f" and {len(urls) - 1} more" if len(urls) > 1 else ""
    return without_secrets(urls[0]) + more
