"""`dask-em show`: what a saved model is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dask_em.cli.options import JSON

if TYPE_CHECKING:
    from rich.table import Table

    from dask_em.archive import Summary
    from dask_em.estimators.gaussian_mixture import GaussianMixture

__all__ = ["show"]

#: what a table shows at most
MOST_COMPONENTS, MOST_FEATURES = 20, 8


def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Path or URL of a saved model.")],
    as_json: JSON = False,
) -> None:
    """Show what a saved model is, how its fit ended, and its components."""
    from dask_em.archive import inspect
    from dask_em.cli.results import conclusion
    from dask_em.cli.text import print_json, result_console
    from dask_em.estimators.persistence import load

    summary, fitted = inspect(model), load(model)
    if as_json:
        print_json(_document(model, summary, fitted))
        return
    names = _names(fitted)
    for key, value in {
        "model": f"{summary.facts['estimator']}, {len(fitted.weights_)} components, "
        f"{fitted.covariance_type} covariance",
        "features": f"{fitted.n_features_in_}: {_abridged(names)}",
        "selected": _selection(summary),
        "fit": f"{conclusion(fitted)}; log-likelihood {fitted.lower_bound_:.9f} per row",
        "passes": _effort(fitted),
        "written": f"{summary.created:%Y-%m-%d %H:%M} UTC by dask_em {summary.version}",
    }.items():
        if value:
            print(f"{key:<9} {value}")
    result_console().print(_table(fitted, names))


def _names(fitted: GaussianMixture) -> list[str]:
    names = getattr(fitted, "feature_names_in_", None)
    if names is None:
        return [str(index) for index in range(fitted.n_features_in_)]
    return [str(name) for name in names]


def _abridged(names: list[str]) -> str:
    text = ", ".join(names[:MOST_FEATURES])
    return text if len(names) <= MOST_FEATURES else f"{text}, ... and {names[-1]}"


def _selection(summary: Summary) -> str:
    said = {name: names for name, names in summary.facts["selection"].items() if names}
    return ", ".join(
        f"--{name.replace('_', '-')} {','.join(names)}" for name, names in said.items()
    )


def _effort(fitted: GaussianMixture) -> str:
    from dask_em.cli.text import count, size

    if not fitted.history_:
        return ""
    last = fitted.history_[-1]
    seconds = sum(record.seconds for record in fitted.history_)
    return f"{count(last.rows)} rows, {size(last.nbytes)}, {seconds:.1f} s in all"


def _table(fitted: GaussianMixture, names: list[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = names[:MOST_FEATURES]
    more = len(names) > len(shown)
    table = Table(box=SIMPLE_HEAD, title="weights and means", title_justify="left", pad_edge=False)
    for heading in ("", "weight", *shown, *(["..."] if more else [])):
        table.add_column(heading, justify="right")
    rows = zip(fitted.weights_, fitted.means_, strict=True)
    for component, (weight, means) in enumerate(rows):
        if component == MOST_COMPONENTS:
            table.add_row("...")
            break
        values = (f"{mean:.6g}" for mean in means[:MOST_FEATURES])
        table.add_row(str(component), f"{weight:.4f}", *values, *(["..."] if more else []))
    return table


def _document(url: str, summary: Summary, fitted: GaussianMixture) -> dict[str, Any]:
    from dask_em.cli.results import passes_document

    return {
        "model": url,
        "kind": summary.facts["estimator"],
        "version": summary.version,
        "created": summary.created.isoformat(),
        "parameters": summary.facts["params"],
        "selection": summary.facts["selection"],
        "features": _names(fitted),
        "outcome": fitted.outcome_.name.lower(),
        "converged": fitted.converged_,
        "iterations": fitted.n_iter_,
        "log_likelihood_per_row": fitted.lower_bound_,
        "weights": fitted.weights_,
        "means": fitted.means_,
        "covariances": fitted.covariances_,
        "passes": passes_document(fitted),
    }
