"""`sweep`: mixtures of many sizes and structures, fitted in the passes of one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import product
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dask_em.core.records import Record
from dask_em.core.stopping import Stopping
from dask_em.engine.fit import Fitted
from dask_em.engine.many import Member, fit_many
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.errors import DegenerateError, InputError
from dask_em.estimators.chance import seeds_of
from dask_em.estimators.fitting import keep
from dask_em.estimators.gaussian_mixture import GaussianMixture
from dask_em.estimators.given import mixture_of
from dask_em.estimators.mapping import prepare
from dask_em.estimators.names import noted_features
from dask_em.estimators.rows import Selection, open_rows
from dask_em.estimators.skipped import warn_of_skipped
from dask_em.models.covariance import STRUCTURES
from dask_em.models.criteria import CRITERIA, Criteria
from dask_em.models.mixture import Mixture

if TYPE_CHECKING:
    from distributed import Client
    from rich.table import Table

    from dask_em.place import URL

__all__ = ["Candidate", "Sweep", "sweep"]


@dataclass(frozen=True)
class Candidate(Record):
    """One mixture of a sweep. Where the fit failed, its numbers are NaN."""

    n_components: int
    covariance_type: str
    init: int  # which of the starts
    log_likelihood: float  # nats per row
    n_parameters: int  # free ones; 0 where the fit failed
    bic: float  # twice nats, as aic and icl; lower is better
    aic: float
    icl: float
    converged: bool
    n_passes: int  # after the first, which all candidates share
    failure: str | None  # why the fit failed


@dataclass(frozen=True)
class Sweep:
    """Mixtures compared.

    Parameters
    ----------
    candidates : tuple of Candidate
        By covariance type, number of components and start.
    criterion : str
        Which of their numbers chose the best.
    best : GaussianMixture
        The best one, fitted: with the parameters that its numbers belong to.
    history : tuple of PassRecord
        One for each full pass over the data, which all candidates shared.
    """

    candidates: tuple[Candidate, ...]
    criterion: str
    best: GaussianMixture
    history: tuple[PassRecord, ...]

    @property
    def best_candidate(self) -> Candidate:
        """What the table says of the best mixture."""
        return min(_usable(self.candidates), key=lambda one: float(getattr(one, self.criterion)))

    def to_dicts(self) -> list[dict[str, Any]]:
        """The table, a mapping for each candidate."""
        return [asdict(candidate) for candidate in self.candidates]

    def to_dataframe(self) -> Any:
        """The table as a pandas DataFrame; pandas must be installed."""
        return import_module("pandas").DataFrame(self.to_dicts())

    def __rich__(self) -> Table:
        from dask_em.estimators.sweep_table import table_of

        return table_of(self)

    def __str__(self) -> str:
        from dask_em.estimators.sweep_table import text_of

        return text_of(self)


def sweep(
    data: Any,
    n_components: int | Iterable[int] = range(1, 9),
    *,
    covariance_type: str | Iterable[str] = ("full", "diag"),
    n_init: int = 1,
    criterion: str = "bic",
    tol: float = 1e-4,
    reg_covar: float = 1e-6,
    max_iter: int = 100,
    algorithm: str = "auto",
    tol_gap: float | None = None,
    init_params: str = "kmeans",
    random_state: Any = None,
    missing: str = "error",
    degenerate: str = "repair",
    on_bad_chunk: str = "raise",
    sample_weight: Any = None,
    features: Sequence[str] | None = None,
    sample_dims: Sequence[str] | None = None,
    where: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mapping: Any = None,
    client: Client | None = None,
    checkpoint: URL | None = None,
    cache: str | int = "off",
    monitor: Monitor | None = None,
) -> Sweep:
    """Fit Gaussian mixtures of many sizes and structures, sharing each pass, and compare them.

    The rows are read as often as the slowest mixture needs. Every start is first fitted to a
    sample of the rows in memory; a mixture that has converged stops costing, and one that fails
    is listed with the reason and leaves the others alone.

    Parameters
    ----------
    data : array (..., d), dask array, path, URL, Zarr array or group, or Source
        The rows, features along the last axis.
    n_components : int or iterable of int
        Numbers of components k.
    covariance_type : str or iterable of str
        Structures of the covariances: "full", "tied", "diag", "spherical".
    n_init : int
        Starts of each mixture. All of them are fitted to all rows.
    criterion : {"bic", "aic", "icl"}
        What the best mixture has least of.
    tol : float
        A mixture has converged when its log-likelihood changes by less, nats per row. Times the
        number of rows, it should be small beside the differences of the criteria.
    max_iter : int
        Most passes, at least 1.
    random_state : int, RandomState or None
        Chance in the starts. With an int the start of a mixture does not depend on which others
        are fitted.
    reg_covar, algorithm, tol_gap, init_params, missing, degenerate, on_bad_chunk
        As in `GaussianMixture`.
    sample_weight, features, sample_dims, where, storage_options, mapping, client, cache, monitor
        As in `GaussianMixture.fit`.
    checkpoint : str or path, optional
        Of a folder, as in `GaussianMixture.fit`, in which every pass leaves where all mixtures
        stand. The same call goes on from there, bit for bit.

    Returns
    -------
    Sweep
        The table of candidates and the best one, fitted.

    Raises
    ------
    DegenerateError
        If no mixture could be fitted.
    DaskEmError
        With the value, the limit and the remedy.

    References
    ----------
    Schwarz (1978) and Biernacki, Celeux and Govaert (2000), for the criteria.
    """
    if criterion not in CRITERIA:
        raise InputError(f"criterion={criterion!r}; it must be one of {CRITERIA}")
    if not max_iter >= 1:
        raise InputError(f"max_iter={max_iter}; a sweep compares after at least 1 pass")
    options = {
        "tol": tol,
        "reg_covar": reg_covar,
        "max_iter": max_iter,
        "algorithm": algorithm,
        "tol_gap": tol_gap,
        "n_init": n_init,
        "init_params": init_params,
        "random_state": random_state,
        "missing": missing,
        "degenerate": degenerate,
        "on_bad_chunk": on_bad_chunk,
    }
    estimators = _estimators(_listed(n_components), _listed(covariance_type), options)
    selection = Selection(features, sample_dims, storage_options, where)
    kept = selection.checkpoint(checkpoint, data)
    rows = open_rows(estimators[0], data, sample_weight, selection, reset=True)
    prepared = prepare(
        rows,
        mapping,
        client=client,
        missing=missing,
        on_bad_chunk=on_bad_chunk,
        monitor=monitor,
        checkpoint=kept,
    )
    source = prepared.source
    entries = [(estimator, init) for estimator in estimators for init in range(n_init)]
    models = [mixture_of(estimator, source.schema.n_features)[0] for estimator, _ in entries]
    found = fit_many(
        models,
        source,
        # any chance will do for a sweep that goes on: it takes that of its checkpoint
        None if random_state is None and kept is not None else [*_chances(entries, random_state)],
        client=client,
        stopping=Stopping(tol, max_iter, tol_gap),
        missing=missing,
        on_bad_chunk=on_bad_chunk,
        algorithm=algorithm,
        cache=cache,
        checkpoint=kept,
        monitor=monitor,
    )
    candidates = tuple(
        _candidate(estimator, init, model, member)
        for (estimator, init), model, member in zip(entries, models, found.members, strict=True)
    )
    best = _best(candidates, criterion)
    estimator, member = entries[best][0], found.members[best]
    for name, value in noted_features(estimators[0]).items():
        setattr(estimator, name, value)
    estimator._selection, estimator.mapping_ = selection.remembered, prepared.mapping
    keep(estimator, prepared.completed(_fitted(member)), np.dtype(source.schema.dtype))
    _warn(candidates[best], found.history[-1])
    return Sweep(candidates, criterion, estimator, (*prepared.history, *found.history))


def _listed(values: Any) -> list[Any]:
    """One or several values, each once."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        return [values]
    return list(dict.fromkeys(values))


def _estimators(
    sizes: list[int], structures: list[str], options: dict[str, Any]
) -> list[GaussianMixture]:
    """The mixtures to be compared, not yet fitted."""
    made = [
        GaussianMixture(k, covariance_type=structure, **options)
        for structure, k in product(structures, sizes)
    ]
    if not made:
        raise InputError(
            f"n_components={sizes} and covariance_type={structures} leave nothing to fit; give at "
            "least one of each"
        )
    for estimator in made:
        estimator._validate_params()
    return made


def _chances(
    entries: Sequence[tuple[GaussianMixture, int]], random_state: Any
) -> Iterator[np.random.Generator]:
    """A generator for each mixture, which depends on nothing but the seed and what it is."""
    seeds = seeds_of(random_state)
    structures = list(STRUCTURES)
    for estimator, init in entries:
        which = structures.index(estimator.covariance_type)
        yield np.random.default_rng([*seeds, int(estimator.n_components), which, init])


def _candidate(estimator: GaussianMixture, init: int, model: Mixture, member: Member) -> Candidate:
    name = (int(estimator.n_components), estimator.covariance_type, init)
    if member.last is None or member.failure is not None:
        return Candidate(*name, nan, 0, nan, nan, nan, False, member.n_passes, member.failure)
    found = Criteria.of(model, member.last.parameters, member.last.statistics)
    return Candidate(
        *name,
        found.log_likelihood / found.mass,
        found.n_parameters,
        found.bic,
        found.aic,
        found.icl,
        member.converged,
        member.n_passes,
        None,
    )


def _usable(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [one for one in candidates if one.failure is None]


def _best(candidates: Sequence[Candidate], criterion: str) -> int:
    """Which candidate has least of the criterion; the first of equals."""
    usable = [index for index, one in enumerate(candidates) if isfinite(one.bic)]
    if not usable:
        first = candidates[0]
        raise DegenerateError(
            f"none of the {len(candidates)} mixtures could be fitted; the first, of "
            f"{first.n_components} components: {first.failure}"
        )
    return min(usable, key=lambda index: float(getattr(candidates[index], criterion)))


def _fitted(member: Member) -> Fitted[Any]:
    last, outcome = member.last, member.outcome
    assert last is not None
    assert outcome is not None
    return Fitted(last.parameters, last.objective, member.history, outcome)


def _warn(best: Candidate, last: PassRecord) -> None:
    """Say once, at the end, what the user should know."""
    if not best.converged:
        warnings.warn(
            f"the best mixture, of {best.n_components} components, did not converge in "
            f"{best.n_passes} passes; raise max_iter or tol",
            ConvergenceWarning,
            stacklevel=3,
        )
    warn_of_skipped(last.bad_chunks, "the mixtures know nothing of the rows there", "sweep")
