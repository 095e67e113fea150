"""Many fits at a time: every pass over the rows serves all that have not ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_em.core.algorithm import Candidate, PlainEM
from dask_em.core.block import Block
from dask_em.core.em import Iterate
from dask_em.core.em import fit as fit_block
from dask_em.core.model import Model, Repair, SupportsKernels
from dask_em.core.stopping import Outcome, Stopping
from dask_em.core.together import SupportsTogether, Together, TogetherParameters
from dask_em.engine.accelerated import Accelerated, Beginnings, to_the_optimum
from dask_em.engine.course import Course
from dask_em.engine.first import FirstPass
from dask_em.engine.gaps import missing_of, with_gaps
from dask_em.engine.limits import one_blas_thread
from dask_em.engine.loop import passed
from dask_em.engine.mending import Mending
from dask_em.engine.method import method_of, surrogate_of
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.passes import Passes
from dask_em.engine.runner import choose_runner
from dask_em.engine.source import Schema, Source
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
    algorithm: str = "auto",
    cache: str | int = "off",
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
    client, stopping, missing, on_bad_chunk, algorithm, cache, monitor
        As in `dask_em.engine.fit.fit`.

    Raises
    ------
    InputError, DataError, SchemaError, PlanError, ChunkError, ClusterError
        With the value, the limit and the remedy.
    """
    if not models:
        raise InputError("there are 0 models to fit; give 1 or more")
    policies = [missing_of(missing, model) for model in models]
    models = [with_gaps(model, policy) for model, policy in zip(models, policies, strict=True)]
    every = _Every(models, source, algorithm, stopping or Stopping())
    reading = Reading(source.schema, policies[0], on_bad_chunk)
    runner, monitor = choose_runner(source, client), monitor or Monitor()
    passes: Passes[Any, Any] = Passes(
        Together(tuple(models)), source, runner, reading, monitor, cache
    )
    with one_blas_thread(), runner.keeping(passes.reading.cache):
        return every.fitted(passes, rngs)


class _Every:
    """What the members of a fit share."""

    def __init__(
        self,
        models: Sequence[Model[Any, Any]],
        source: Source,
        algorithm: str,
        stopping: Stopping,
    ) -> None:
        self.models, self.schema, self.stopping = models, source.schema, stopping
        self.methods = [method_of(algorithm, model, source) for model in models]

    def fitted(self, passes: Passes[Any, Any], rngs: Sequence[np.random.Generator]) -> Many:
        first = FirstPass(passes, self._sample_size())
        first.sample()  # where there is none, that is no fault of a member
        sample = Beginnings(first)
        members = [
            self._member(model, method, first, sample)
            for model, method in zip(self.models, self.methods, strict=True)
        ]
        for member, rng in zip(members, rngs, strict=True):
            member.begin(rng, _first_alike(members, member))
        history = list(first.records)
        while any(member.candidates for member in members):
            history.append(_pass(passes, first, members, history[-1]))
            passes.monitor.end(history[-1])
        return Many(tuple(member.told(first) for member in members), tuple(history))

    def _sample_size(self) -> int | None:
        """Rows that stand for all of them for the largest of the models."""
        sizes = [
            surrogate_of(model, self.schema)
            for model, method in zip(self.models, self.methods, strict=True)
            if method == "accelerated"
        ]
        return max((size for size in sizes if size is not None), default=None)

    def _member(
        self, model: Model[Any, Any], method: str, first: FirstPass, sample: Beginnings
    ) -> _Member:
        mending: Mending[Any, Any] = Mending(model, first)
        if method == "em":
            return _Member(Course(PlainEM(mending), mending, self.stopping), None, self.schema)
        made: Accelerated[Any, Any] = Accelerated(mending, self.schema, sample)
        course = Course(made.algorithm(), mending, to_the_optimum(self.stopping))
        return _Member(course, made if made.corrects else None, self.schema)


def _pass(
    passes: Passes[Any, Any], first: FirstPass, members: Sequence[_Member], previous: PassRecord
) -> PassRecord:
    """One pass for all members that have not ended."""
    waiting = [member for member in members if member.candidates]
    repairs = tuple(repair for member in waiting for repair in member.repairs)
    iteration = 0 if previous.kind == "first" else previous.iteration + 1
    tried = [(member, one.parameters) for member in waiting for one in member.candidates]
    passes.model = Together(tuple(member.model for member, _ in tried))
    together = TogetherParameters(tuple(parameters for _, parameters in tried))
    rows = max((member.sample_rows or 0 for member in waiting), default=0)
    may_fail = all(member.course.may_fail for member in waiting)
    made = passed(passes, first, [together], iteration, rows or None, may_fail)
    found = iter(made.statistics[0].members)
    for member in waiting:
        member.take([next(found) for _ in member.candidates], made.record)
    best = max((one.objective for one in members if one.objective > -inf), default=None)
    gain = None if best is None or previous.objective is None else best - previous.objective
    return replace(made.record, objective=best, gain=gain, repairs=repairs)


def _first_alike(members: Sequence[_Member], member: _Member) -> Any:
    """The first start that is of the same family and there, if any came before."""
    before = members[: members.index(member)]
    alike = (one.candidates for one in before if one.candidates and one.joins(member))
    return next((candidates[0].parameters for candidates in alike), None)


class _Member:
    """One model's course among others: it fails alone."""

    def __init__(
        self,
        course: Course[Any, Any],
        accelerated: Accelerated[Any, Any] | None,
        schema: Schema,
    ) -> None:
        self.course, self.model = course, course.mending.model
        self._accelerated, self._schema = accelerated, schema
        self._failure: str | None = None

    @property
    def candidates(self) -> tuple[Candidate[Any], ...]:
        """What the next pass is to try; nothing where it has ended or failed."""
        return () if self._failure else self.course.candidates

    @property
    def sample_rows(self) -> int | None:
        return self.course.sample_rows

    @property
    def objective(self) -> float:
        """Nats per row; -inf before the first pass and where it failed."""
        there = self.course.has_passed and not self._failure
        return self.course.progress.iterate.objective if there else -inf

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """What had to be repaired to get the candidates."""
        return self.course.mending.found(self.candidates[0].parameters)

    def joins(self, other: _Member) -> bool:
        """Whether the two can share the arithmetic of a pass."""
        return isinstance(self.model, SupportsTogether) and self.model.joins(other.model)

    def begin(self, rng: np.random.Generator, like: Any) -> None:
        """Start at an optimum of the sample.

        Parameters
        ----------
        like : Parameters or None
            The sums are to be taken where those of others are, so that arithmetic can be shared.
        """

        def made(sample: Block) -> Any:
            start = self.model.initialize(sample, rng)
            if like is None:
                return start
            assert isinstance(self.model, SupportsTogether)
            return self.model.aligned(start, like)

        with self._failing():
            if self._accelerated is None:
                sample = self.course.mending.first.sample()
                in_memory = replace(self.course.stopping, max_iter=SAMPLE_STEPS)
                found = fit_block(self.model, sample, made(sample), in_memory)
                whole = self.course.mending.first.holds_every_row()
                # one pass confirms the optimum of all rows
                self.course.begin([found.parameters], found.last.objective if whole else -inf)
            else:
                self.course.begin([self._accelerated.start(lambda sample: [made(sample)])])
            self._check()

    def take(self, statistics: list[Any], record: PassRecord) -> None:
        """The statistics that the candidates induced in a pass."""
        kernel = self._kernel(self.candidates[0].parameters)
        with self._failing():
            self.course.take(statistics, replace(record, kernel=kernel))
            self.course.propose()
            self._check()

    def told(self, first: FirstPass) -> Member:
        """How it ended."""
        progress = self.course.progress if self.course.has_passed else None
        return Member(
            None if progress is None else progress.iterate,
            (*first.records, *(() if progress is None else progress.history)),
            None if self._failure else self.course.outcome,
            self._failure,
        )

    def _check(self) -> None:
        """What would fail in a pass, for all, fails here for one."""
        for one in self.candidates:
            self._kernel(one.parameters)

    def _kernel(self, parameters: Any) -> str | None:
        if not isinstance(self.model, SupportsKernels):
            return None
        return self.model.kernel_name(parameters, self._schema.dtype)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            self._failure = str(error)
