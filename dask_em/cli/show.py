"""`dask-em show`: what a saved model is, or where a job stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dask_em.cli.description import description_of
from dask_em.cli.jobs.options import Service
from dask_em.cli.jobs.show import is_job, show_job
from dask_em.cli.options import JSON, Selected, StorageOptions

if TYPE_CHECKING:
    from dask_em.archive import Summary
    from dask_em.cli.kinds import Estimator

__all__ = ["show", "show_model"]

#: features that are named at most
MOST_FEATURES = 8


def show(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL|JOB", help="Path or URL of a saved model, or id of a job."),
    ],
    storage_option: StorageOptions = None,
    scheduler: Service = None,
    as_json: JSON = False,
) -> None:
    """Show a saved model: how its fit ended, its components or axes. Or where a job stands.

    What is there as a path, or is a URL, is a model; otherwise it is the id of a job.
    """
    if is_job(model, scheduler):
        show_job(model, scheduler, as_json)
    else:
        show_model(model, Selected.parse(None, None, storage_option), as_json)


def show_model(model: str, selected: Selected, as_json: bool) -> None:
    """Show what a saved model is."""
    from dask_em.archive import inspect
    from dask_em.cli.text import print_json, result_console
    from dask_em.estimators.persistence import load

    options = selected.options_of(model)
    summary, fitted = inspect(model, options), load(model, options)
    if as_json:
        print_json(_document(model, summary, fitted))
        return
    described = description_of(fitted)
    for key, value in {
        "model": f"{summary.facts['estimator']}, {described.words}",
        "features": f"{fitted.n_features_in_}: {_abridged(described.labels_in)}",
        "mapped": ", then ".join(described.mapping),
        "selected": _selection(summary),
        "fit": described.ending,
        "passes": _effort(fitted),
        **described.remarks(),
        "written": f"{summary.created:%Y-%m-%d %H:%M} UTC by dask_em {summary.version}",
    }.items():
        if value:
            print(f"{key:<9} {value}")
    result_console().print(described.table())


def _abridged(names: list[str]) -> str:
    text = ", ".join(names[:MOST_FEATURES])
    return text if len(names) <= MOST_FEATURES else f"{text}, ... and {names[-1]}"


def _names(fitted: Estimator) -> list[str]:
    from dask_em.estimators.names import features_in

    found = features_in(fitted)
    return list(found.names or map(str, range(found.n)))


def _selection(summary: Summary) -> str:
    said = {name: names for name, names in summary.facts["selection"].items() if names}
    return ", ".join(
        f"--{name.replace('_', '-')} {','.join(names)}" for name, names in said.items()
    )


def _effort(fitted: Estimator) -> str:
    from dask_em.cli.text import count, size

    if not fitted.history_:
        return ""
    last = fitted.history_[-1]
    seconds = sum(record.seconds for record in fitted.history_)
    return f"{count(last.rows)} rows, {size(last.nbytes)}, {seconds:.1f} s in all"


def _document(url: str, summary: Summary, fitted: Estimator) -> dict[str, Any]:
    from dask_em.cli.results import passes_document

    described = description_of(fitted)
    return {
        "model": url,
        "kind": summary.facts["estimator"],
        "version": summary.version,
        "created": summary.created.isoformat(),
        "parameters": summary.facts["params"],
        "selection": summary.facts["selection"],
        "features": _names(fitted),
        "units": getattr(fitted, "feature_units_in_", None),
        "mapping": described.mapping,
        "mapped_features": described.names,
        "mapped_units": fitted.feature_units_,
        "outcome": fitted.outcome_.name.lower(),
        "converged": fitted.converged_,
        "iterations": fitted.n_iter_,
        "log_likelihood_per_row": described.log_likelihood,
        **described.document(),
        "passes": passes_document(fitted),
    }
