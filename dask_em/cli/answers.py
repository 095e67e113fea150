"""What a saved model says of each row of a store, written to stores: the body of three commands."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_em.cli.cluster import check_reachable, connected
from dask_em.cli.options import Cluster, Selected
from dask_em.cli.saving import kept_at

if TYPE_CHECKING:
    from dask_em.cli.kinds import Estimator
    from dask_em.engine.stream import Tally

__all__ = ["FILL", "PREDICT", "TRANSFORM", "Answers", "Command"]


@dataclass(frozen=True)
class Command:
    """A command that writes answers, and whose they are."""

    estimator: str  # class name
    method: str  # of the estimator
    instead: str  # what to do with a model of another kind


PREDICT = Command(
    "GaussianMixture",
    "write_predictions",
    "which has no components to predict; dask-em transform writes its scores, dask-em fill its "
    "rows without gaps",
)
TRANSFORM = Command(
    "PPCA",
    "write_scores",
    "which has no latent dimensions to transform to; dask-em predict writes its labels",
)
FILL = Command(
    "PPCA",
    "write_filled",
    "which needs whole rows and fills no gaps; dask-em predict writes its labels, and dask-em fit "
    "--model ppca makes a model that fills gaps",
)


@dataclass(frozen=True)
class Answers:
    """What is to be written.

    Parameters
    ----------
    model, data : str
        Path or URL of the saved model, and of the rows.
    outputs : mapping
        Paths by what goes there; None for what is not wanted. The first one is, and the others are
        keywords of the estimator's method; those that are the first go there too.
    policies : mapping
        Parameters of the estimator that are to be others than in the fit, unless None.
    """

    command: Command
    model: str
    data: str
    outputs: Mapping[str, str | None]
    policies: Mapping[str, str | None]
    selected: Selected
    cluster: Cluster
    timeout: float
    overwrite: bool
    keys: list[str] | None = None  # columns to stand beside the answers
    checkpoint: str | None = None  # where it is kept what is written

    def write(self, as_json: bool) -> None:
        """Write all outputs in one reading of the rows, and say what was done.

        Raises
        ------
        DaskEmError
            If the model is of another kind, or what the estimator's method raises.
        """
        check_reachable(self.cluster)
        written = self._written()

        from dask_em.cli.text import print_json
        from dask_em.sources.apart import check_outputs

        # with a checkpoint, what is there may be its own, which the estimator's method finds out
        for path in dict.fromkeys(written.values()) if self.checkpoint is None else ():
            check_outputs([path], self.overwrite, self.selected.options_of(path))
        fitted = self._loaded()
        begin = time.perf_counter()
        tally = self._run(fitted)
        seconds = time.perf_counter() - begin
        if as_json:
            where = {"model": self.model, "data": self.data}
            print_json({**where, **written, **_figures(tally, seconds)})
            return
        for name, path in written.items():
            print(f"{name.replace('_', '-')} in {path}")
        print(_sentence(tally, seconds))
        print(f"next: {self._opening(next(iter(written.values())))}")

    def _opening(self, path: str) -> str:
        """What opens an output in Python."""
        from dask_em.place import parse_place
        from dask_em.sources.marked import mark_in

        mark = mark_in(parse_place(path, self.selected.options_of(path)))
        return f'{"xarray.open_zarr" if mark is None else "pandas.read_parquet"}("{path}")'

    def _written(self) -> dict[str, str]:
        return {name: path for name, path in self.outputs.items() if path is not None}

    def _place(self, name: str) -> str | bool | None:
        path = self.outputs[name]
        return True if path is not None and path == next(iter(self.outputs.values())) else path

    def _loaded(self) -> Estimator:
        from dask_em.errors import InputError
        from dask_em.estimators.persistence import load

        fitted: Estimator = load(self.model, self.selected.options_of(self.model))
        kind = type(fitted).__name__
        if kind != self.command.estimator:
            raise InputError(f"{self.model} holds a {kind}, {self.command.instead}")
        for name, policy in self.policies.items():
            if policy is not None:
                setattr(fitted, name, policy)
        return fitted

    def _run(self, fitted: Estimator) -> Tally:
        from dask_em.cli.live import show_progress
        from dask_em.cli.text import progress_console

        out, *others = self.outputs
        with (
            show_progress(progress_console()) as progress,
            connected(self.cluster, progress.say, self.timeout) as client,
        ):
            tally: Tally = getattr(fitted, self.command.method)(
                self.data,
                self.outputs[out],
                **{name: self._place(name) for name in others},
                keys=self.keys,
                overwrite=self.overwrite,
                features=self.selected.features,
                sample_dims=self.selected.sample_dims,
                where=self.selected.where,
                storage_options=self.selected.options_of(self.data),
                output_options=self.selected.options_of(self.outputs[out]),
                client=client,
                monitor=progress,
                checkpoint=kept_at(self.checkpoint, self.selected, progress, "what is written"),
            )
        return tally


def _figures(tally: Tally, seconds: float) -> dict[str, Any]:
    return {
        "rows": tally.rows,
        "bytes_read": tally.nbytes,
        "bad_chunks": tally.bad_chunks,
        "seconds": seconds,
    }


def _sentence(tally: Tally, seconds: float) -> str:
    from dask_em.cli.text import count, plural, size

    skipped = f"; {plural(tally.bad_chunks, 'unreadable chunk')} skipped"
    done = f"{count(tally.rows)} rows, {size(tally.nbytes)} in {seconds:.1f} s"
    return done + (skipped if tally.bad_chunks else "")
