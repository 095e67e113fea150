"""What the commands say of a fitted mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_em.cli.description import MOST_COMPONENTS, Description
from dask_em.cli.results import next_command
from dask_em.cli.text import plural

if TYPE_CHECKING:
    from rich.table import Table

    from dask_em.estimators.gaussian_mixture import GaussianMixture

__all__ = ["MixtureDescription"]

#: features whose means a table shows at most
MOST_FEATURES = 8


class MixtureDescription(Description):
    """Weights, means and covariances."""

    fitted: GaussianMixture

    @property
    def words(self) -> str:
        fitted = self.fitted
        return f"{plural(len(fitted.weights_), 'component')}, {fitted.covariance_type} covariance"

    @property
    def log_likelihood(self) -> float | None:
        return float(self.fitted.lower_bound_)

    def remarks(self) -> dict[str, str]:
        repairs = sum(len(record.repairs) for record in self.fitted.history_)
        if not repairs:
            return {}
        return {"repairs": f"{repairs:,} of degenerate components, listed with the passes"}

    def next_steps(self, model: str, data: str) -> list[str]:
        return [next_command("predict", model, data, "labels.zarr")]

    def main(self) -> dict[str, Any]:
        return {"weights": self.fitted.weights_, "means": self.fitted.means_}

    def document(self) -> dict[str, Any]:
        return {**self.main(), "covariances": self.fitted.covariances_}

    def table(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        names = self.labels
        shown = names[:MOST_FEATURES]
        more = len(names) > len(shown)
        table = Table(
            box=SIMPLE_HEAD, title="weights and means", title_justify="left", pad_edge=False
        )
        for heading in ("", "weight", *shown, *(["..."] if more else [])):
            table.add_column(Text(heading), justify="right")  # brackets are no markup
        rows = zip(self.fitted.weights_, self.fitted.means_, strict=True)
        for component, (weight, means) in enumerate(rows):
            if component == MOST_COMPONENTS:
                table.add_row("...")
                break
            values = (f"{mean:.6g}" for mean in means[:MOST_FEATURES])
            table.add_row(str(component), f"{weight:.4f}", *values, *(["..."] if more else []))
        return table
