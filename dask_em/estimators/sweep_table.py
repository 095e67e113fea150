"""A sweep as people read it."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from dask_em.estimators.sweep import Candidate, Sweep

__all__ = ["table_of", "text_of"]

COLUMNS = ("covariance", "k", "start", "nats/row", "parameters", "BIC", "AIC", "ICL")


def table_of(sweep: Sweep) -> Table:
    """The candidates, the best one marked; criteria are less those of the best."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    best = sweep.best_candidate
    title = (
        f"by {sweep.criterion.upper()}; * has BIC {best.bic:.8g}, AIC {best.aic:.8g}, "
        f"ICL {best.icl:.8g}; all are shown less these"
    )
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("")
    for heading in (*COLUMNS, "passes"):
        table.add_column(heading, justify="left" if heading == "covariance" else "right")
    table.add_column("")
    for candidate in sweep.candidates:
        table.add_row("*" if candidate is best else "", *_cells(candidate, best))
    return table


def text_of(sweep: Sweep) -> str:
    """The table as plain text."""
    from rich.console import Console

    out = StringIO()
    Console(file=out, width=160, color_system=None).print(table_of(sweep))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _cells(one: Candidate, best: Candidate) -> tuple[str, ...]:
    name = (one.covariance_type, str(one.n_components), str(one.init))
    if one.failure is not None:
        return (*name, *("",) * 5, str(one.n_passes), f"failed: {one.failure}")
    return (
        *name,
        f"{one.log_likelihood:.6f}",
        str(one.n_parameters),
        f"{one.bic - best.bic:+.1f}",
        f"{one.aic - best.aic:+.1f}",
        f"{one.icl - best.icl:+.1f}",
        str(one.n_passes),
        "" if one.converged else "not converged",
    )
