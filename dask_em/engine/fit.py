"""Fit: sample, start, iterate, stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from dask_em.core.algorithm import PlainEM
from dask_em.core.block import Block
from dask_em.core.em import Iterate
from dask_em.core.em import fit as fit_block
from dask_em.core.model import Model
from dask_em.core.records import Parameters, Statistics
from dask_em.core.stopping import Outcome, Stopping
from dask_em.engine.accelerated import LEAST_ROWS, Accelerated, Beginnings, to_the_optimum
from dask_em.engine.closed import glimpsed, optimum_of_one_pass
from dask_em.engine.course import Course
from dask_em.engine.fingerprint import Watch
from dask_em.engine.first import FirstPass
from dask_em.engine.gaps import missing_of, with_gaps
from dask_em.engine.limits import one_blas_thread
from dask_em.engine.loop import iterate
from dask_em.engine.mending import Mending
from dask_em.engine.method import algorithm_of, method_of, surrogate_of
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.passes import Passes
from dask_em.engine.runner import choose_runner
from dask_em.engine.source import Source
from dask_em.engine.specification import specification
from dask_em.engine.stream import Reading
from dask_em.engine.trail import Trail
from dask_em.mapping.chain import Chain

if TYPE_CHECKING:
    from distributed import Client

    from dask_em.engine.checkpoint import Checkpoint
    from dask_em.place import URL, Place

__all__ = ["Fitted", "Score", "fit", "score"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: starts that an accelerated fit tries on its sample, where passes are free
STARTS = 4


@dataclass(frozen=True)
class Fitted(Generic[P]):
    """A finished fit.

    Parameters
    ----------
    parameters : Parameters
        After the last M-step, or in closed form.
    objective : float
        Nats per row of the parameters before that M-step, or of those in closed form; -inf if no
        pass was made.
    history : tuple of PassRecord
        One for each full pass over the data.
    outcome : Outcome
        How it ended; its value is the advice.
    mapping : Chain, optional
        What is done to rows before the model sees them; the parameters are in its units.
    """

    parameters: P
    objective: float
    history: tuple[PassRecord, ...]
    outcome: Outcome
    mapping: Chain | None = None

    @property
    def objectives(self) -> list[float]:
        """Nats per row, one for each EM iteration."""
        return [record.objective for record in self.history if record.objective is not None]

    @property
    def converged(self) -> bool:
        return self.outcome is Outcome.CONVERGED


def fit(
    model: Model[P, S],
    source: Source,
    *,
    client: Client | None = None,
    start: P | None = None,
    stopping: Stopping | None = None,
    previous: float = -float("inf"),
    n_init: int = 1,
    rng: np.random.Generator | None = None,
    missing: str = "error",
    on_bad_chunk: str = "raise",
    algorithm: str = "auto",
    init_sample: int | None = None,
    cache: str | int = "off",
    checkpoint: URL | Place | None = None,
    monitor: Monitor | None = None,
) -> Fitted[P]:
    """Fit a model to a source by Expectation-Maximization.

    Parameters
    ----------
    model : Model
        What to fit.
    source : Source
        The rows. They are streamed, never collected.
    client : distributed.Client, optional
        The cluster to work on; by default the one that is current, otherwise this process.
    start : Parameters, optional
        Where to start; by default the model's own start on a sample, made in a first pass. A model
        whose optimum follows from one pass takes its sums near the rows of a few chunks instead.
    stopping : Stopping, optional
        When to stop.
    previous : float
        Nats per row that an earlier fit had reached at `start`, to judge the first gain by.
    n_init : int
        Starts to try. Where the sample holds every row each is fitted, otherwise each is fitted
        to the sample and the best goes on to all rows. Accelerated fits that a sample corrects try
        at least 4.
    rng : numpy.random.Generator, optional
        Chance in the starts.
    missing : {"error", "drop", "model"}
        Whether rows with NaN are refused, left out, or given to the model as they are, where it
        is one that does with what is observed of them.
    on_bad_chunk : {"raise", "skip"}
        Whether a chunk that cannot be read ends the fit.
    algorithm : {"auto", "em", "accelerated"}
        Which parameters each pass tries. ``"em"`` is the textbook's: those of the last M-step.
        ``"accelerated"`` climbs a sample in memory, which full passes correct, and needs a few
        passes where EM needs hundreds; models whose optimum is made of eigenvectors multiply blocks
        of directions, others extrapolate EM steps. ``"auto"`` is ``"em"`` for rows in this
        process's memory, otherwise ``"accelerated"``. A model whose optimum follows from the sums
        of one pass takes just that pass, unless it is ``"em"``.
    init_sample : int, optional
        Rows of the sample; by default what `algorithm` needs.
    cache : {"off", "auto"} or int
        Bytes of decoded chunks that each worker keeps in memory from pass to pass; "auto" is what
        its memory has left. Results are the same to the bit.
    checkpoint : str or path, optional
        Of a folder, which is made if there is none. After every pass it holds all that the next one
        depends on: the same call goes on from there, bit for bit, and so does one that differs in
        `stopping` or works elsewhere. Without `rng`, chance is the checkpoint's.
    monitor : Monitor, optional
        Told of passes and tasks.

    Raises
    ------
    DataError, SchemaError, DegenerateError, PlanError, ChunkError, ClusterError
        With the value, the limit and the remedy.
    SourceError
        If the rows changed under the fit.
    ArchiveError
        If the checkpoint is that of other rows, of another model or of other options, or cannot be
        written.
    """
    policy = missing_of(missing, model)
    model = with_gaps(model, policy)
    passes = Passes(
        model,
        source,
        choose_runner(source, client),
        Reading(source.schema, policy, on_bad_chunk),
        monitor or Monitor(),
        cache,
    )
    method = method_of(algorithm, model, source)
    kept = None
    if checkpoint is not None:
        # it brings Zarr along, which fits in memory do without
        from dask_em.engine.checkpoint import Checkpoint

        options: dict[str, Any] = {
            "algorithm": algorithm_of(method),
            "n_init": n_init,
            "init_sample": init_sample,
            "missing": missing,
            "on_bad_chunk": on_bad_chunk,
        }
        wanted = specification(model, source.fingerprint(), start, rng, options)
        kept = Checkpoint.open(checkpoint, wanted)
    rng = np.random.default_rng() if rng is None else rng
    plan = _Fit(passes, stopping or Stopping(), rng, n_init, kept)
    with one_blas_thread(), passes.runner.keeping(passes.reading.cache):
        if method == "em":
            return plan.plain(start, previous, init_sample)
        if method == "closed":
            return plan.closed(start, init_sample)
        return plan.accelerated(start, previous, init_sample)


class _Fit(Generic[P, S]):
    """What all starts of a fit share."""

    def __init__(
        self,
        passes: Passes[P, S],
        stopping: Stopping,
        rng: np.random.Generator,
        n_init: int,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.passes, self.model = passes, passes.model
        self.stopping, self.rng, self.n_init = stopping, rng, n_init
        self.checkpoint, self.watch = checkpoint, Watch(passes.source)

    def plain(self, start: P | None, previous: float, size: int | None) -> Fitted[P]:
        """EM as in the textbook."""
        first = FirstPass(self.passes, size, self.checkpoint)
        if start is not None:
            return self._em(lambda: [start], first, previous)
        if self.n_init == 1 or self.stopping.max_iter == 0 or first.holds_every_row():
            return _best(
                self._em(lambda: [self._start(first)], first, number=number)
                for number in range(self.n_init)
            )
        return self._em(lambda: [self._best_of_sample(first)], first)

    def accelerated(self, start: P | None, previous: float, size: int | None) -> Fitted[P]:
        """EM whose passes correct a sample, or are extrapolated where none can stand for all."""
        schema, stopping = self.passes.source.schema, to_the_optimum(self.stopping)
        if not stopping.max_iter:
            return self.plain(start, previous, size)
        wanted = surrogate_of(self.model, schema) if size is None else size
        first = FirstPass(self.passes, wanted, self.checkpoint)
        mending = Mending(self.model, first)
        made = Accelerated(mending, schema, Beginnings(first))

        def begin() -> list[P]:
            if not made.corrects:
                one = self._best_of_sample(first) if start is None else start
                return made.beginnings(one, self.rng)
            if start is None:
                return [made.start(self._starts)]
            # it may be better than what the sample makes of it
            return [start, made.start(lambda _: [start])]

        if made.is_short:
            self._warn_of_few(made.n_rows, made.n_free)
        course = Course(made.algorithm(), mending, stopping)
        return self._run(course, begin, first, previous)

    def closed(self, start: P | None, size: int | None) -> Fitted[P]:
        """The optimum of one pass, that of a sample where no pass is wanted."""
        if not self.stopping.max_iter:
            return self.plain(start, -float("inf"), size)
        first = FirstPass(self.passes, size, self.checkpoint)

        def sampled() -> P:
            return self._start(first)

        def begin() -> P:
            return glimpsed(self.passes, sampled, self.rng) if start is None else start

        mending = Mending(self.model, first)
        trail = Trail(0, mending, self.rng, self.watch, self.checkpoint)
        progress = optimum_of_one_pass(self.passes, mending, begin, sampled, trail)
        found = progress.iterate
        history = (*first.records, *progress.history)
        return Fitted(found.parameters, found.objective, history, Outcome.CONVERGED)

    @staticmethod
    def _warn_of_few(n_rows: int, n_free: int) -> None:
        warnings.warn(
            f"the sample has {n_rows:,} rows for {n_free:,} free parameters and cannot stand for "
            f"the data, even where it may grow; EM goes on without it, with more passes. "
            f"Pass init_sample={LEAST_ROWS * n_free} or more: {LEAST_ROWS} rows for each",
            UserWarning,
            stacklevel=4,
        )

    def _em(
        self,
        starts: Callable[[], list[P]],
        first: FirstPass,
        previous: float = -float("inf"),
        number: int = 0,
    ) -> Fitted[P]:
        mending = Mending(self.model, first)
        course = Course(PlainEM(mending), mending, self.stopping)
        return self._run(course, starts, first, previous, number)

    def _run(
        self,
        course: Course[P, S],
        starts: Callable[[], list[P]],
        first: FirstPass,
        previous: float,
        number: int = 0,
    ) -> Fitted[P]:
        if self.stopping.max_iter == 0:
            return Fitted(starts()[0], -float("inf"), first.records, Outcome.ITERATION_LIMIT)
        trail = Trail(number, course.mending, self.rng, self.watch, self.checkpoint)
        progress, parameters, outcome = iterate(self.passes, course, starts, previous, trail)
        history = (*first.records, *progress.history)
        return Fitted(parameters, progress.iterate.objective, history, outcome)

    def _best_of_sample(self, first: FirstPass) -> P:
        if self.n_init == 1:
            return self._start(first)
        starts = (self._start(first) for _ in range(self.n_init))
        tries = [fit_block(self.model, first.sample(), one, self.stopping) for one in starts]
        best = max(tries, key=lambda candidate: candidate.last.objective)
        return best.parameters

    def _start(self, first: FirstPass) -> P:
        return self.model.initialize(first.sample(), self.rng)

    def _starts(self, block: Block) -> list[P]:
        """Different starts: given parameters make only one."""
        starts: list[P] = []
        for _ in range(max(self.n_init, STARTS)):
            one = self.model.initialize(block, self.rng)
            if not any(one.equals(other) for other in starts):
                starts.append(one)
        return starts


def _best(fits: Iterable[Fitted[P]]) -> Fitted[P]:
    # the first of equals, as scikit-learn has it
    return max(fits, key=lambda fitted: fitted.objective)


@dataclass(frozen=True)
class Score:
    """How well parameters explain a source."""

    log_likelihood: float  # nats per row, weighted
    mass: float  # sum of the weights of the rows
    record: PassRecord  # of the pass that it cost


def score(
    model: Model[P, S],
    source: Source,
    parameters: P,
    *,
    client: Client | None = None,
    missing: str = "error",
    on_bad_chunk: str = "raise",
    monitor: Monitor | None = None,
) -> Score:
    """The log-likelihood of parameters.

    Parameters and errors are those of `fit`; it costs one pass.
    """
    policy = missing_of(missing, model)
    model = with_gaps(model, policy)
    reading = Reading(source.schema, policy, on_bad_chunk)
    runner = choose_runner(source, client)
    passes = Passes(model, source, runner, reading, monitor or Monitor())
    made = passes.expect([parameters], 0)
    (statistics,) = made.statistics
    found = Iterate(parameters, statistics, model.log_prior(parameters))
    record = replace(made.record, objective=found.objective)
    passes.monitor.end(record)
    mass = statistics.mass
    return Score(statistics.log_likelihood / mass, mass, record)
