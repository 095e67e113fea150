"""Fit: sample, start, iterate, stop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from dask_em.core.block import Block, Missing
from dask_em.core.em import em
from dask_em.core.em import fit as fit_block
from dask_em.core.model import Model, Repair, SupportsRepair
from dask_em.core.records import Parameters, Statistics
from dask_em.core.stopping import Outcome, Stopping
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.passes import Passes
from dask_em.engine.runner import choose_runner
from dask_em.engine.source import Source
from dask_em.engine.stream import Reading

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Fitted", "Score", "fit", "score"]

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)

#: how often components may be moved in one fit
MOST_RESEEDS = 3


@dataclass(frozen=True)
class Fitted(Generic[P]):
    """A finished fit.

    Parameters
    ----------
    parameters : Parameters
        After the last M-step.
    objective : float
        Nats per row of the parameters before that M-step; -inf if no pass was made.
    history : tuple of PassRecord
        One for each full pass over the data.
    outcome : Outcome
        How it ended; its value is the advice.
    """

    parameters: P
    objective: float
    history: tuple[PassRecord, ...]
    outcome: Outcome

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
        Where to start; by default the model's own start on a sample, made in a first pass.
    stopping : Stopping, optional
        When to stop.
    previous : float
        Nats per row that an earlier fit had reached at `start`, to judge the first gain by.
    n_init : int
        Starts to try. Where the sample holds every row each is fitted, otherwise each is fitted
        to the sample and the best goes on to all rows.
    rng : numpy.random.Generator, optional
        Chance in the starts.
    missing : {"error", "drop"}
        Whether rows with NaN are refused or left out.
    on_bad_chunk : {"raise", "skip"}
        Whether a chunk that cannot be read ends the fit.
    monitor : Monitor, optional
        Told of passes and tasks.

    Raises
    ------
    DataError, SchemaError, DegenerateError, PlanError, ChunkError, ClusterError
        With the value, the limit and the remedy.
    """
    passes = Passes(
        model,
        source,
        choose_runner(source, client),
        Reading(source.schema, Missing(missing), on_bad_chunk),
        monitor or Monitor(),
    )
    stopping, rng = stopping or Stopping(), rng or np.random.default_rng()
    first = _FirstPass(passes)
    if start is not None:
        return _run(passes, start, stopping, first, previous)
    starts = (model.initialize(first.sample(), rng) for _ in range(n_init))
    if n_init == 1 or stopping.max_iter == 0 or first.holds_every_row():
        return _best(_run(passes, start, stopping, first) for start in starts)
    tries = [fit_block(model, first.sample(), start, stopping) for start in starts]
    best = max(tries, key=lambda candidate: candidate.last.objective)
    return _run(passes, best.parameters, stopping, first)


def _best(fits: Iterable[Fitted[P]]) -> Fitted[P]:
    # the first of equals, as scikit-learn has it
    return max(fits, key=lambda fitted: fitted.objective)


def _run(
    passes: Passes[P, S],
    start: P,
    stopping: Stopping,
    first: _FirstPass,
    previous: float = -float("inf"),
) -> Fitted[P]:
    """EM from one start until it is told to stop."""
    if stopping.max_iter == 0:
        return Fitted(start, -float("inf"), first.records, Outcome.ITERATION_LIMIT)
    mending = _Mending(passes.model, first, start)
    records: list[PassRecord] = []

    def e_step(parameters: P) -> S:
        last = records[-1] if records else None
        statistics, record = passes.expect(parameters, last, mending.repairs)
        records.append(record)
        return statistics

    outcome: Outcome | None = None
    iterates = em(mending, e_step, start)
    while outcome is None:
        iterate = next(iterates)
        # the first objective may follow one of other data: nothing can be said of its fall
        monotone = mending.monotone and len(records) > 1
        outcome = stopping.judge(previous, iterate.objective, len(records), monotone)
        previous = iterate.objective
    parameters = passes.model.maximize(iterate.statistics)
    # no pass follows the last M-step, so what it repaired goes with the last pass
    last = records[-1]
    unsaid = [repair for repair in mending.found(parameters) if repair not in last.repairs]
    records[-1] = replace(last, repairs=(*last.repairs, *unsaid))
    return Fitted(parameters, iterate.objective, (*first.records, *records), outcome)


class _FirstPass:
    """The first pass, made when its sample is first asked for."""

    def __init__(self, passes: Passes[Any, Any]) -> None:
        self._passes = passes
        self._sample: Block | None = None
        self._complete = False
        self.records: tuple[PassRecord, ...] = ()

    def sample(self) -> Block:
        """Rows of the sample."""
        if self._sample is None:
            survey, record = self._passes.first()
            self._sample, self._complete = survey.sample(), survey.complete
            self.records = (record,)
        return self._sample

    def holds_every_row(self) -> bool:
        """Whether the sample is all there is."""
        self.sample()
        return self._complete


class _Mending(Generic[P, S]):
    """A model whose M-step also moves useless components to rows of the sample.

    The model's own M-step sees statistics only; the sample is what a fit adds.
    """

    def __init__(self, model: Model[P, S], first: _FirstPass, start: P) -> None:
        self.model, self.first = model, first
        self.reseeds = 0
        self.repairs = self.found(start)

    def found(self, parameters: P) -> tuple[Repair, ...]:
        """What the model had to repair to get these parameters."""
        if isinstance(self.model, SupportsRepair):
            return self.model.repairs(parameters)
        return ()

    @property
    def monotone(self) -> bool:
        return self.model.monotone and not self.repairs

    def log_prior(self, parameters: P) -> float:
        return self.model.log_prior(parameters)

    def maximize(self, statistics: S) -> P:
        parameters = self.model.maximize(statistics)
        self.repairs = self.found(parameters)
        useless = [repair for repair in self.repairs if repair.kind != "singular"]
        if not useless or self.reseeds >= MOST_RESEEDS:
            return parameters
        self.reseeds += 1
        model: Any = self.model
        moved = model.reseed(parameters, self.first.sample())
        self.repairs = self.found(moved)
        return moved  # type: ignore[no-any-return]


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
    reading = Reading(source.schema, Missing(missing), on_bad_chunk)
    runner = choose_runner(source, client)
    passes = Passes(model, source, runner, reading, monitor or Monitor())
    statistics, record = passes.expect(parameters, None, ())
    mass = statistics.mass
    return Score(statistics.log_likelihood / mass, mass, record)
