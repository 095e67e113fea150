"""What the commands say of a fitted PPCA."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dask_em.cli.description import MOST_COMPONENTS, Description
from dask_em.cli.results import next_command
from dask_em.cli.text import plural

if TYPE_CHECKING:
    from rich.table import Table

    from dask_em.estimators.ppca import PPCA

__all__ = ["PPCADescription"]

#: features that a table names for each axis
MOST_LOADED = 3
#: axes whose share is told after a fit
MOST_SHARES = 5
#: characters of the bar of an axis that explains everything
BAR = 10


class PPCADescription(Description):
    """Principal axes, their variances, and the noise."""

    fitted: PPCA

    @property
    def words(self) -> str:
        return plural(self.fitted.n_components_, "latent dimension")

    @property
    def log_likelihood(self) -> float | None:
        history = self.fitted.history_
        return history[-1].objective if history else None

    def remarks(self) -> dict[str, str]:
        fitted = self.fitted
        shares = fitted.explained_variance_ratio_
        n_features = len(fitted.mean_)
        left = n_features - len(shares)
        each = " + ".join(f"{share:.1%}" for share in shares[:MOST_SHARES])
        explained = (
            f"{shares.sum():.2%} of the variance of {plural(n_features, 'feature')} by "
            f"{plural(len(shares), 'axis', 'axes')}: {each}"
            + (" + ..." if len(shares) > MOST_SHARES else "")
        )
        noise = f"variance {fitted.noise_variance_:.6g} in each of {_directions(left)}"
        return {"explained": explained, "noise": noise, **self._gaps()}

    def _gaps(self) -> dict[str, str]:
        last = self.fitted.history_[-1] if self.fitted.history_ else None
        if last is not None and last.dropped:
            rows = last.rows + last.dropped
            return {"gaps": f"{last.dropped:,} of {plural(rows, 'row')} hold NaN and were left out"}
        if last is not None and self.fitted.missing == "model":
            some = f"{last.incomplete:,} of {plural(last.rows, 'row')} have gaps"
            return {"gaps": f"{some}, {last.empty:,} are all NaN; used as far as observed"}
        return {}

    def next_steps(self, model: str, data: str) -> list[str]:
        steps = [next_command("transform", model, data, "scores.zarr")]
        if self._gaps():
            steps.append(next_command("fill", model, data, "filled.zarr"))
        return steps

    def main(self) -> dict[str, Any]:
        fitted = self.fitted
        return {
            "latent_dims": fitted.n_components_,
            "noise_variance": fitted.noise_variance_,
            "explained_variance": fitted.explained_variance_,
            "explained_variance_ratio": fitted.explained_variance_ratio_,
            "incomplete_rows": fitted.history_[-1].incomplete if fitted.history_ else None,
            "empty_rows": fitted.history_[-1].empty if fitted.history_ else None,
        }

    def document(self) -> dict[str, Any]:
        fitted = self.fitted
        arrays = {name: getattr(fitted, f"{name}_") for name in ("mean", "components", "loadings")}
        return {**self.main(), **arrays}

    def table(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        fitted = self.fitted
        table = Table(
            box=SIMPLE_HEAD,
            title="principal axes",
            title_justify="left",
            pad_edge=False,
            collapse_padding=True,
        )
        for heading in ("axis", "variance", "share", "cumulative"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("", width=BAR)
        table.add_column("most loaded features")
        shares = fitted.explained_variance_ratio_
        for axis, share in enumerate(shares[:MOST_COMPONENTS]):
            table.add_row(
                str(axis),
                f"{fitted.explained_variance_[axis]:.6g}",
                f"{share:.2%}",
                f"{shares[: axis + 1].sum():.2%}",
                _bar(share),
                Text(_most_loaded(fitted.components_[axis], self.names)),  # brackets are no markup
            )
        if len(shares) > MOST_COMPONENTS:
            table.add_row("...")
        return table


def _bar(share: float) -> str:
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    return ("█" if unicode else "#") * round(BAR * share)


def _directions(number: int) -> str:
    return f"the other {number:,} directions" if number > 1 else "the other direction"


def _most_loaded(axis: Any, names: list[str]) -> str:
    order = (-abs(axis)).argsort(kind="stable")[:MOST_LOADED]
    return ", ".join(f"{names[index]}:{axis[index]:+.2f}" for index in order)
