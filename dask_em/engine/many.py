"""Many fits at a time: every pass over the rows serves all that have not ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_em.core.block import Missing
from dask_em.core.em import Iterate
from dask_em.core.em import fit as fit_block
from dask_em.core.model import Model, Repair, SupportsKernels
from dask_em.core.records import Statistics
from dask_em.core.stopping import Outcome, Stopping
from dask_em.core.together import SupportsTogether, Together, TogetherParameters
from dask_em.engine.first import FirstPass
from dask_em.engine.loop import Mending
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.passes import Passes
from dask_em.engine.runner import choose_runner
from dask_em.engine.source import Source
from dask_em.engine.stream import Reading
from dask_em.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Many", "Member", "fit_many"]

#: EM steps on the sample, which cost no pass, whatever the limit on passes
SAMPLE_STEPS = 500


@dataclass(frozen=True)
class Member:
    """How the fit of one model ended.

    Parameters
    ----------
    last : Iterate or None
        The parameters of its last pass, and the statistics that they induced.
    history : tuple of PassRecord
        The first pass, then those that it took part in, with its own objective in each.
    outcome : Outcome or None
        None if it failed.
    failure : str or None
        Why it failed.
    """

    last: Iterate[Any, Any] | None
    history: tuple[PassRecord, ...]
    outcome: Outcome | None
    failure: str | None

    @property
    def converged(self) -> bool:
        return self.outcome is Outcome.CONVERGED

    @property
    def n_passes(self) -> int:
        """Passes that it took part in after the first."""
        return sum(record.kind != "first" for record in self.history)


@dataclass(frozen=True)
class Many:
    """Finished fits.

    Parameters
    ----------
    members : tuple of Member
        One for each model, in order.
    history : tuple of PassRecord
        One for each full pass over the data; the objective is the highest of the members'.
    """

    members: tuple[Member, ...]
    history: tuple[PassRecord, ...]


def fit_many(
    models: Sequence[Model[Any, Any]],
    source: Source,
    rngs: Sequence[np.random.Generator],
    *,
    client: Client | None = None,
    stopping: Stopping | None = None,
    missing: str = "error",
    on_bad_chunk: str = "raise",
    monitor: Monitor | None = None,
) -> Many:
    """Fit models to the same rows; all that have not ended share each pass.

    Each starts on the sample of the first pass, is fitted to it in memory, and goes on with all
    rows. A model that cannot be fitted leaves the others alone.

    Parameters
    ----------
    models : sequence of Model
    source : Source
        The rows. They are streamed, never collected.
    rngs : sequence of numpy.random.Generator
        Chance in the start of each model.
    client, stopping, missing, on_bad_chunk, monitor
        As in `dask_em.engine.fit.fit`.

    Raises
    ------
    DataError, SchemaError, PlanError, ChunkError, ClusterError
        With the value, the limit and the remedy.
    """
    reading = Reading(source.schema, Missing(missing), on_bad_chunk)
    runner, monitor = choose_runner(source, client), monitor or Monitor()
    passes: Passes[Any, Any] = Passes(Together(tuple(models)), source, runner, reading, monitor)
    first = FirstPass(passes, None)
    first.sample()
    courses = [_Course(model, stopping or Stopping(), first, source) for model in models]
    for course, rng in zip(courses, rngs, strict=True):
        course.begin(rng, _first_alike(courses, course))
    history = list(first.records)
    while any(course.parameters is not None for course in courses):
        history.append(_pass(passes, courses, history[-1]))
        monitor.end(history[-1])
    return Many(tuple(course.member() for course in courses), tuple(history))


def _pass(passes: Passes[Any, Any], courses: Sequence[_Course], previous: PassRecord) -> PassRecord:
    """One pass for all courses that have not ended."""
    parameters = TogetherParameters(tuple(course.parameters for course in courses))
    repairs = tuple(repair for course in courses for repair in course.repairs)
    iteration = 0 if previous.kind == "first" else previous.iteration + 1
    made = passes.expect([parameters], iteration)
    (statistics,), record = made.statistics, made.record
    for course, found in zip(courses, statistics.members, strict=True):
        if found is not None:
            course.take(found, record)
    best = max((course.objective for course in courses if course.objective > -inf), default=None)
    gain = None if best is None or previous.objective is None else best - previous.objective
    return replace(record, objective=best, gain=gain, repairs=repairs)


def _first_alike(courses: Sequence[_Course], course: _Course) -> Any:
    """The first start that is of the same family and there, if any came before."""
    before = courses[: courses.index(course)]
    alike = (one for one in before if one.parameters is not None and one.joins(course))
    return next((one.parameters for one in alike), None)


class _Course:
    """One model's way: parameters wait for a pass and its statistics are taken, until it ends.

    `parameters` is None before it begins and when it has ended.
    """

    def __init__(
        self, model: Model[Any, Any], stopping: Stopping, first: FirstPass, source: Source
    ) -> None:
        self.model, self._stopping, self._first = model, stopping, first
        self._mending: Mending[Any, Any] = Mending(model, first)
        self._dtype = source.schema.dtype
        self.parameters: Any = None
        self.objective = -inf  # nats per row
        self._last: Iterate[Any, Any] | None = None
        self._history: list[PassRecord] = []
        self._outcome: Outcome | None = None
        self._failure: str | None = None

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """What had to be repaired to get the parameters."""
        return () if self.parameters is None else self._mending.found(self.parameters)

    def joins(self, other: _Course) -> bool:
        """Whether the two can share the arithmetic of a pass."""
        return isinstance(self.model, SupportsTogether) and self.model.joins(other.model)

    def begin(self, rng: np.random.Generator, like: Any) -> None:
        """Start on the sample and go to its optimum.

        Parameters
        ----------
        like : Parameters or None
            The sums are to be taken where those of others are, so that arithmetic can be shared.
        """
        sample = self._first.sample()
        try:
            start = self.model.initialize(sample, rng)
            if like is not None:
                assert isinstance(self.model, SupportsTogether)
                start = self.model.aligned(start, like)
            in_memory = replace(self._stopping, max_iter=SAMPLE_STEPS)
            found = fit_block(self.model, sample, start, in_memory)
            self._go_on_with(found.parameters)
        except InputError as error:
            self._fail(str(error))
            return
        if self._first.holds_every_row():  # one pass confirms the optimum
            self.objective = found.last.objective

    def take(self, statistics: Statistics, record: PassRecord) -> None:
        """The statistics that `parameters` induced in a pass."""
        parameters, previous = self.parameters, self.objective
        iterate = Iterate(parameters, statistics, self.model.log_prior(parameters))
        if not isfinite(iterate.objective):
            self._fail(f"the log-likelihood is {statistics.log_likelihood}; rescale the features")
            return
        self._last, self.objective = iterate, iterate.objective
        self._history.append(self._told(record, iterate, previous))
        # the first objective may follow one of the sample: nothing can be said of its fall
        n_passes = len(self._history)
        monotone = self.model.monotone and not self.repairs and n_passes > 1
        self._outcome = self._stopping.judge(previous, iterate.objective, n_passes, monotone)
        if self._outcome is not None:
            self.parameters = None
            return
        try:
            self._go_on_with(self._mending.maximize(statistics))
        except InputError as error:
            self._fail(str(error))

    def member(self) -> Member:
        """How it ended."""
        history = (*self._first.records, *self._history)
        return Member(self._last, history, self._outcome, self._failure)

    def _told(self, record: PassRecord, iterate: Iterate[Any, Any], previous: float) -> PassRecord:
        again = bool(self._history)
        return replace(
            record,
            objective=iterate.objective,
            gain=iterate.objective - previous if again else None,
            kernel=self._kernel(iterate.parameters),
            repairs=self.repairs,
            step="em" if again else "start",
        )

    def _go_on_with(self, parameters: Any) -> None:
        self._kernel(parameters)  # what would fail in a pass, for all, fails here for one
        self.parameters = parameters

    def _kernel(self, parameters: Any) -> str | None:
        if not isinstance(self.model, SupportsKernels):
            return None
        return self.model.kernel_name(parameters, self._dtype)

    def _fail(self, reason: str) -> None:
        self.parameters, self._failure, self.objective = None, reason, -inf
