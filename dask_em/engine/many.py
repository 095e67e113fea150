"""Many fits at a time: every pass over the rows serves all that have not ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_em.core.algorithm import PlainEM
from dask_em.core.model import Model
from dask_em.core.stopping import Stopping
from dask_em.core.together import Together, TogetherParameters
from dask_em.engine.accelerated import Accelerated, Beginnings, to_the_optimum
from dask_em.engine.course import Course
from dask_em.engine.fingerprint import Facts, Watch
from dask_em.engine.first import FirstPass
from dask_em.engine.gaps import missing_of, with_gaps
from dask_em.engine.joint_trail import JointTrail
from dask_em.engine.limits import one_blas_thread
from dask_em.engine.loop import passed
from dask_em.engine.mending import Mending
from dask_em.engine.method import algorithm_of, method_of, surrogate_of
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.one_of_many import Member, OneOfMany
from dask_em.engine.passes import Passes
from dask_em.engine.runner import choose_runner
from dask_em.engine.source import Source
from dask_em.engine.specification import specification
from dask_em.engine.stream import Reading
from dask_em.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.engine.checkpoint import Checkpoint
    from dask_em.place import URL, Place

__all__ = ["Many", "Member", "fit_many"]


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
    rngs: Sequence[np.random.Generator] | None = None,
    *,
    client: Client | None = None,
    stopping: Stopping | None = None,
    missing: str = "error",
    on_bad_chunk: str = "raise",
    algorithm: str = "auto",
    cache: str | int = "off",
    checkpoint: URL | Place | None = None,
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
    rngs : sequence of numpy.random.Generator, optional
        Chance in the start of each model.
    client, stopping, missing, on_bad_chunk, algorithm, cache, checkpoint, monitor
        As in `dask_em.engine.fit.fit`.

    Raises
    ------
    InputError, DataError, SchemaError, PlanError, ChunkError, ClusterError
        With the value, the limit and the remedy.
    SourceError
        If the rows changed under the fits.
    ArchiveError
        If the checkpoint is that of other rows, models or options, or cannot be written.
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
    kept = None
    if checkpoint is not None:
        # it brings Zarr along, which fits in memory do without
        from dask_em.engine.checkpoint import Checkpoint

        options = {**every.options, "missing": missing, "on_bad_chunk": on_bad_chunk}
        whole = Together(tuple(models))
        wanted = specification(whole, source.fingerprint(), None, rngs, options)
        kept = Checkpoint.open(checkpoint, wanted)
    if rngs is None:
        rngs = [np.random.default_rng() for _ in models]
    with one_blas_thread(), runner.keeping(passes.reading.cache):
        return every.fitted(passes, rngs, kept)


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

    @property
    def options(self) -> Facts:
        """What decides the numbers beside models and rows."""
        return {"algorithm": ", ".join(dict.fromkeys(map(algorithm_of, self.methods)))}

    def fitted(
        self,
        passes: Passes[Any, Any],
        rngs: Sequence[np.random.Generator],
        checkpoint: Checkpoint | None,
    ) -> Many:
        trail = JointTrail(Watch(passes.source), checkpoint)
        first = FirstPass(passes, self._sample_size(), checkpoint)
        first.sample()  # where there is none, that is no fault of a member
        sample = Beginnings(first)
        members = [
            self._member(model, method, first, sample)
            for model, method in zip(self.models, self.methods, strict=True)
        ]
        history = [*first.records, *_begun(members, rngs, trail)]
        for record in history[1:]:
            passes.monitor.end(record)
        while any(member.candidates for member in members):
            history.append(_pass(passes, first, members, history, trail))
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
    ) -> OneOfMany:
        mending: Mending[Any, Any] = Mending(model, first)
        if method == "em":
            return OneOfMany(Course(PlainEM(mending), mending, self.stopping), None, self.schema)
        made: Accelerated[Any, Any] = Accelerated(mending, self.schema, sample)
        course = Course(made.algorithm(), mending, to_the_optimum(self.stopping))
        return OneOfMany(course, made if made.corrects else None, self.schema)


def _begun(
    members: Sequence[OneOfMany], rngs: Sequence[np.random.Generator], trail: JointTrail
) -> list[PassRecord]:
    """Make the starts, or go on where all stood; the passes that were made since the first."""
    kept = trail.resumed()
    if kept is None:
        for member, rng in zip(members, rngs, strict=True):
            member.begin(rng, _first_alike(members, member))
        return []
    for member, one in zip(members, kept.members, strict=True):
        assert one is not None
        member.go_on(one)
    *before, last = kept.history
    return [*before, _judged(last, before[-1] if before else None, members)]


def _pass(
    passes: Passes[Any, Any],
    first: FirstPass,
    members: Sequence[OneOfMany],
    history: Sequence[PassRecord],
    trail: JointTrail,
) -> PassRecord:
    """One pass for all members that have not ended."""
    waiting = [member for member in members if member.candidates]
    repairs = tuple(repair for member in waiting for repair in member.repairs)
    tried = [(member, one.parameters) for member in waiting for one in member.candidates]
    passes.model = Together(tuple(member.model for member, _ in tried))
    together = TogetherParameters(tuple(parameters for _, parameters in tried))
    rows = max((member.sample_rows or 0 for member in waiting), default=0)
    may_fail = all(member.course.may_fail for member in waiting)
    before = history[1:]
    made = passed(passes, first, [together], len(before), rows or None, may_fail)
    found = iter(made.statistics[0].members)
    for member in waiting:
        member.take([next(found) for _ in member.candidates], made.record)
    record = replace(made.record, repairs=repairs)
    changed = [member in waiting for member in members]
    stands = trail.passed([*before, record], [member.stands for member in members], changed)
    for member, stand in zip(members, stands, strict=True):
        if member in waiting:
            member.go_on(stand)
    return _judged(record, before[-1] if before else None, members)


def _judged(
    record: PassRecord, previous: PassRecord | None, members: Sequence[OneOfMany]
) -> PassRecord:
    """With the highest objective of those that have not failed."""
    best = max((one.objective for one in members if one.objective > -inf), default=None)
    before = None if previous is None else previous.objective
    gain = None if best is None or before is None else best - before
    return replace(record, objective=best, gain=gain)


def _first_alike(members: Sequence[OneOfMany], member: OneOfMany) -> Any:
    """The first start that is of the same family and there, if any came before."""
    before = members[: members.index(member)]
    alike = (one.candidates for one in before if one.candidates and one.joins(member))
    return next((candidates[0].parameters for candidates in alike), None)
