"""`plan` for data of any kind: what a fit will cost, before it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sklearn.base import clone

from dask_em.core.model import Model
from dask_em.core.records import Parameters
from dask_em.engine.cache import Cache
from dask_em.engine.gaps import missing_of, with_gaps
from dask_em.engine.look import GLIMPSED, GLIMPSED_ROWS
from dask_em.engine.method import check_algorithm, method_of, surrogate_of
from dask_em.engine.plan import SUMS, SUMS_OF_A_TASK, Plan, sums_bytes
from dask_em.engine.probe import Measured, Unmeasured, n_workers
from dask_em.engine.probe import probe as measure
from dask_em.engine.promise import Promise, expected_passes
from dask_em.engine.room import parse_cache
from dask_em.engine.runner import LocalRunner, Runner, choose_runner
from dask_em.engine.sample import Sampling, largest_size
from dask_em.engine.sample_memory import SURVEYS, gathered_bytes, sample_bytes
from dask_em.engine.source import Schema
from dask_em.engine.stream import Reading
from dask_em.errors import InputError
from dask_em.estimators.gaussian_mixture import GaussianMixture
from dask_em.estimators.given import mixture_of
from dask_em.estimators.latent import latent_model, or_streamed
from dask_em.estimators.mapping import planned
from dask_em.estimators.ppca import PPCA
from dask_em.models.ppca_missing import WIDEST, MissingPPCA
from dask_em.models.ppca_model import LatentModel
from dask_em.models.seeding import MOST_ROWS
from dask_em.sources.registry import open_source

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["plan"]

#: copies of the sample where the fit is called: as it came, and in order
SAMPLES = 2
#: copies in float64 of the rows on which centres are sought: one for each set of coordinates,
#: and what scikit-learn makes of it (measured: 5)
STARTS_COPIES = 6
#: the same where latent dimensions are sought (measured: 2, with gaps 4.2)
LATENT_COPIES = 5
#: values for each pair of features that a start with gaps takes (measured: 3.8)
PAIRS_COPIES = 4


def plan(
    data: Any,
    model: Model[Any, Any] | GaussianMixture | PPCA,
    *,
    client: Client | None = None,
    weights: Any = None,
    features: Sequence[str] | None = None,
    sample_dims: Sequence[str] | None = None,
    where: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mapping: Any = None,
    missing: str | None = None,
    on_bad_chunk: str | None = None,
    algorithm: str | None = None,
    cache: str | int = "off",
    probe: bool = True,
) -> Promise:
    """What a fit of a model to data will read, hold and take.

    Parameters
    ----------
    data : array, dask array, path, URL, Zarr array or group, or Source
        The rows; features along the last axis.
    model : Model, GaussianMixture or PPCA
        What would be fitted.
    client : distributed.Client, optional
        The cluster of the fit; by default the current one, otherwise this process.
    weights, features, sample_dims, where, storage_options
        How the data are opened, see `open_source`; `weights` is its ``sample_weight``.
    mapping : sequence of steps, optional
        As the fit is given it; each step that learns of the data costs a pass.
    missing : {"error", "drop", "model"}, optional
        Whether rows with NaN are refused, left out, or given to the model; by default as the
        estimator says, or "error".
    on_bad_chunk : {"raise", "skip"}, optional
        Whether a chunk that cannot be read ends the work; by default likewise, or "raise".
    algorithm : {"auto", "accelerated", "em"}, optional
        As the fit is given it; by default as the estimator says, or "auto".
    cache : {"off", "auto"} or int
        As the fit is given it.
    probe : bool
        Whether a few chunks are read and computed, about a second, to tell the time of a pass.
        Chunks that the operating system still holds in its memory are read faster than others.

    Raises
    ------
    PlanError
        If the work cannot fit into a worker's memory, with what would make it fit.
    DaskEmError
        As the fit would raise it.
    """
    source = open_source(
        data,
        sample_weight=weights,
        features=features,
        sample_dims=sample_dims,
        where=where,
        storage_options=storage_options,
    )
    source, more_passes = planned(source, mapping)
    given = {"missing": missing, "on_bad_chunk": on_bad_chunk, "algorithm": algorithm}
    given = {name: value for name, value in given.items() if value is not None}
    asked = _Asked.of(model, source.schema, given)
    policy = missing_of(asked.missing, asked.model)
    asked = replace(asked, model=with_gaps(asked.model, policy))
    reading = Reading(source.schema, policy, asked.on_bad_chunk)
    runner = choose_runner(source, client)
    made = Plan.make(source, runner.resources)
    method = method_of(asked.algorithm, asked.model, source)
    kept = parse_cache(cache, made, runner.resources, isinstance(runner, LocalRunner))
    found: Measured | Unmeasured = Unmeasured("no probe was wanted")
    sampling, first = _sampling(method, asked, reading), _first(method, asked, reading)
    gathered = gathered_bytes(first, source.schema, made, runner.resources, n_workers(runner))
    known = asked.model.statistics_bytes(source.schema.n_features) or 0
    beside = _Beside.of(asked.model, sampling, gathered, source.schema, known, runner, kept)
    with or_streamed(asked.model):
        made.check_also(beside.worker, beside.words, runner.resources, source.schema)
    if probe:
        found = measure(asked.model, source, made, runner, reading, asked.start)
        known = max(known, 0 if isinstance(found, Unmeasured) else found.model_bytes)
        beside = _Beside.of(asked.model, sampling, gathered, source.schema, known, runner, kept)
        made.check_also(beside.worker, beside.words, runner.resources, source.schema)
    promise = _promise(
        source.schema,
        made,
        runner,
        beside,
        algorithm=method,
        n_passes=tuple(n + more_passes for n in expected_passes(method, asked.max_iter)),
    )
    if isinstance(found, Unmeasured):
        return replace(promise, unmeasured=found.reason)
    return _timed(promise, found, made)


def _promise(
    schema: Schema, made: Plan, runner: Runner, beside: _Beside, **expected: Any
) -> Promise:
    resources = runner.resources
    return Promise(
        describe=schema.describe,
        n_rows=schema.n_rows,
        n_features=schema.n_features,
        n_chunks=schema.n_chunks,
        chunk_bytes=schema.chunk_bytes,
        n_partitions=made.n_leaves,
        n_tasks=made.n_tasks,
        nbytes=made.nbytes,
        stored_bytes=schema.stored_bytes,
        n_workers=n_workers(runner),
        n_threads=resources.n_threads,
        threads_used=min(resources.n_threads, made.n_tasks),
        worker_memory=resources.worker_memory,
        task_bytes=made.task_bytes,
        worker_bytes=made.worker_bytes + beside.worker + beside.pinned,
        client_bytes=beside.client,
        cached_bytes=min(n_workers(runner) * beside.pinned, made.nbytes or 0),
        **expected,
    )


def _timed(promise: Promise, measured: Measured, made: Plan) -> Promise:
    """The promise with the seconds of a pass."""
    nbytes = promise.nbytes
    if nbytes is None:  # chunks of unknown length are probed one by one, and each is one block
        nbytes = promise.n_chunks * measured.nbytes // len(measured.blocks)
    later = nbytes - promise.cached_bytes
    computing = measured.compute_rate * promise.cached_bytes / promise.threads_used
    return replace(
        promise,
        seconds=measured.pass_seconds(made, nbytes),
        later_seconds=measured.pass_seconds(made, later) + computing,
        read_seconds=measured.read_rate * nbytes,
        compute_seconds=measured.compute_rate * nbytes,
        probed_bytes=measured.nbytes,
    )


@dataclass(frozen=True)
class _Asked:
    """What an estimator, or a bare model, says of its fit."""

    model: Model[Any, Any]
    start: Parameters | None = None
    missing: str = "error"
    on_bad_chunk: str = "raise"
    max_iter: int | None = None
    algorithm: str = "auto"
    init_sample: int | None = None

    @classmethod
    def of(cls, model: Any, schema: Schema, given: Mapping[str, Any]) -> _Asked:
        """What `model` says, with what is `given` in place of its own."""
        if isinstance(model, Model):
            return cls(model, **given)
        if not isinstance(model, GaussianMixture | PPCA):
            raise InputError(
                f"model is a {type(model).__name__}; give a dask_em Model, a GaussianMixture or a "
                "PPCA"
            )
        model._validate_params()
        check_algorithm(given.get("algorithm", model.algorithm))
        # which model is fitted may depend on what is given
        model = clone(model).set_params(**given)
        fitted: Model[Any, Any]
        start, algorithm = None, model.algorithm
        if isinstance(model, PPCA):
            fitted, algorithm = latent_model(model, schema)
        else:
            fitted, start = mixture_of(model, schema.n_features)
        return cls(
            fitted, start, model.missing, model.on_bad_chunk, model.max_iter, algorithm,
            model.init_sample,
        )  # fmt: skip


@dataclass(frozen=True)
class _Beside:
    """Bytes beside those of the tasks' blocks."""

    worker: int  # where most comes together on a worker
    words: str  # what that is
    pinned: int  # in the cache of a worker
    client: int

    @classmethod
    def of(
        cls,
        model: Model[Any, Any],
        sampling: Sampling,
        gathered: int,  # of samples in the first pass
        schema: Schema,
        values: int,  # of statistics and parameters
        runner: Runner,
        cache: Cache | None,
    ) -> _Beside:
        sample = sample_bytes(sampling, schema)
        samples = max(gathered, SURVEYS * sample)
        sums = sums_bytes(values, runner.resources.threads_per_worker)
        return cls(
            max(sums, samples),
            SUMS if sums > samples else "the row sample, as it is merged,",
            0 if cache is None else cache.nbytes,
            SAMPLES * sample + _start_bytes(model, sampling, schema) + SUMS_OF_A_TASK * values,
        )


def _sampling(method: str, asked: _Asked, reading: Reading) -> Sampling:
    """The largest sample of the fit: one that stands for all rows grows where it must."""
    schema, first = reading.schema, _first(method, asked, reading)
    if method != "accelerated" or surrogate_of(asked.model, schema) is None:
        return first
    return Sampling.of(schema, reading, max(first.size, largest_size(schema, schema.n_rows)))


def _first(method: str, asked: _Asked, reading: Reading) -> Sampling:
    """The sample of the first pass."""
    schema, size = reading.schema, asked.init_sample
    if method == "closed":
        size = GLIMPSED * GLIMPSED_ROWS
    elif method == "accelerated" and size is None:
        size = surrogate_of(asked.model, schema)
    return Sampling.of(schema, reading, size)


def _start_bytes(model: Model[Any, Any], sampling: Sampling, schema: Schema) -> int:
    whole = min(sampling.size, schema.n_rows or sampling.size)
    if isinstance(model, LatentModel):
        paired = isinstance(model, MissingPPCA) and schema.n_features <= WIDEST
        pairs = PAIRS_COPIES * schema.n_features if paired else 0
        return 8 * schema.n_features * (LATENT_COPIES * whole + pairs)
    rows = min(sampling.size, MOST_ROWS, schema.n_rows or MOST_ROWS)
    # the whole sample in float64, for what is computed in memory, and the centres' rows
    return 8 * schema.n_features * (whole + STARTS_COPIES * rows)
